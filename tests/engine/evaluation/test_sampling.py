"""Best of N by its definition, on a model whose samples are known; borders on the right frames."""

import imageio.v3 as iio
import numpy as np
import pytest
import torch

from core.device import Compute
from data.types import Clip
from engine.evaluation import sampling
from engine.evaluation.metrics import psnr_by_frame, ssim_by_frame
from engine.output.sample_pictures import (
    BORDER,
    GIVEN,
    PREDICTED,
    SCALE,
    TITLE_HEIGHT,
    write_samples,
)

CPU = torch.device("cpu")


class NoisyCopies(torch.nn.Module):
    """Predicts the frame before, shifted by its latent; with the posterior the truth itself."""

    latent_shape = (1,)

    def encode_conditions(self, conditions):
        return conditions

    def initial_state(self, first_frames):
        return torch.zeros(len(first_frames))

    def observe(self, frame, condition, state, noise, known):
        return state + 1

    def predict(self, frame, condition, state, noise, truth=None):
        predicted = frame + 0.02 * noise[:, :, None, None] if truth is None else truth
        return predicted.clamp(0, 1), state


def clips_of(count: int, T: int = 6) -> list[Clip]:
    frames = torch.randint(60, 200, (count, 1, 3, 16, 16)).byte().expand(-1, T, -1, -1, -1)
    moved = (frames.int() + 4 * torch.arange(T)[:, None, None, None]).byte()
    return [Clip(f"clip{k}", moved[k], torch.zeros(T, 7), n_past=2) for k in range(count)]


@pytest.fixture(scope="module")
def sampled() -> list[sampling.Sampled]:
    torch.manual_seed(0)
    return list(sampling.sample(NoisyCopies(), clips_of(5), samples=7, compute=Compute(CPU)))


def test_best_is_chosen_by_metric_and_sequence_over_the_predicted_frames(sampled):
    for one in sampled:
        for metric in ("psnr", "ssim"):
            scores = one.samples[metric]
            assert scores.shape == (7, 4)
            means = [row.mean() for row in scores]
            assert one.by_step(metric)["best"].mean() == max(means)
            np.testing.assert_allclose(one.by_step(metric)["mean"].mean(), np.mean(means), 1e-5)
    frames, true = sampled[0].shown["best"][2:], sampled[0].clip.frames[2:]
    found = sampled[0].by_step("psnr")["best"]
    np.testing.assert_array_equal(psnr_by_frame(frames, true).numpy(), found)


def test_posterior_and_copy_are_what_they_say(sampled):
    for one in sampled:
        true = one.clip.frames
        assert torch.equal(one.shown["posterior"], true)
        copied = true[1:2].expand(4, -1, -1, -1)
        expected = psnr_by_frame(copied, true[2:]).numpy()
        np.testing.assert_array_equal(one.copied["psnr"], expected)
        expected = ssim_by_frame(copied, true[2:]).numpy()
        np.testing.assert_array_equal(one.copied["ssim"], expected)


def test_samples_do_not_depend_on_how_they_are_batched(sampled):
    torch.manual_seed(0)
    alone = sampling.sample(NoisyCopies(), clips_of(5), samples=7, compute=Compute(CPU), rows=1)
    for one, other in zip(sampled, alone):
        assert one.clip.name == other.clip.name
        for metric in one.samples:
            np.testing.assert_array_equal(one.samples[metric], other.samples[metric])
    few = sampling.sample(NoisyCopies(), [sampled[0].clip], samples=2, compute=Compute(CPU))
    np.testing.assert_array_equal(next(few).samples["psnr"], sampled[0].samples["psnr"][:2])


def test_tables_hold_means_and_intervals_over_sequences(sampled):
    by_step = sampling.step_table(sampled)
    values = np.array([one.by_step("psnr")["best"] for one in sampled])
    rows = by_step[(by_step["metric"] == "psnr") & (by_step["of"] == "best")]
    assert rows["frame"].tolist() == [2, 3, 4, 5]
    np.testing.assert_allclose(rows["mean"], values.mean(axis=0), rtol=1e-6)
    half = 1.96 * values.std(axis=0, ddof=1) / 5**0.5
    np.testing.assert_allclose(rows["high"] - rows["mean"], half, rtol=1e-4)

    summary = sampling.summary_table(sampling.sequence_table(sampled))
    assert summary.index.tolist() == ["best", "mean", "posterior", "copy_last"]
    np.testing.assert_allclose(summary.loc["best", "psnr"], values.mean(), rtol=1e-6)
    half = 1.96 * values.mean(axis=1).std(ddof=1) / 5**0.5
    np.testing.assert_allclose(summary.loc["best", "psnr_ci"], half, rtol=1e-4)
    assert sampling.interval(np.array([3.0])) == (3.0, 0.0)


def test_borders_are_green_on_context_frames_and_red_on_predicted_ones(sampled, tmp_path):
    write_samples(tmp_path / "samples.gif", sampled[0])
    frames = iio.imread(tmp_path / "samples.gif", mode="RGB")
    assert len(frames) == 6
    width = SCALE * (16 + 2 * BORDER)
    for t, frame in enumerate(frames):
        edge = frame[SCALE * (TITLE_HEIGHT + 1) + 1]  # a row of pixels inside the upper border
        for column in range(6):  # truth, posterior, best and three random samples
            pixel = edge[column * (width + SCALE) + width // 2]
            green = t < 2 or column == 0
            np.testing.assert_allclose(pixel, GIVEN if green else PREDICTED, atol=8)
