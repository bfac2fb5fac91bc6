"""The validation's losses against their definition, written out step by step."""

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

import modules.vae
from core.device import Compute
from data.types import Batch, Clip
from engine.evaluation.validation import rollout_losses, validate
from modules.svg import SVG, SVGConfig
from tests.support import robot_reference
from tests.support.clips import random_clip
from tests.support.toy import Linear, LinearConfig
from tests.support.vae import make_batch, make_clips, make_model, tiny

CPU = Compute(torch.device("cpu"))


def robot_model(**config) -> SVG:
    torch.manual_seed(0)
    return SVG(SVGConfig(g_dim=6, z_dim=3, rnn_size=8, vgg_width=2, **config)).eval()


def robot_clip(T: int = 6) -> Clip:
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (T, 3, 64, 64), generator=generator).byte()
    return Clip("0", frames, torch.randn(T, 7, generator=generator), n_past=2)


def dance_kl(model, frames, poses) -> torch.Tensor:
    """One frame after another: the KL of the posterior of each to N(0, I), (T − 1,)."""
    found = []
    for frame, pose in zip(frames[1:], poses[1:]):
        features = model.frame_transformation(frame[None])
        _, mu, logvar = model.Gaussian_Predictor(
            features, model.label_transformation(pose[None]), torch.zeros(model.latent_shape)
        )
        kl = kl_divergence(Normal(mu, (logvar / 2).exp()), Normal(0.0, 1.0))
        found.append(kl.sum())
    return torch.stack(found)


@pytest.mark.parametrize("chunk", [3, 64])
@torch.no_grad()
def test_the_kl_of_the_dance_is_that_of_each_frame(monkeypatch, chunk):
    monkeypatch.setattr(modules.vae, "KL_CHUNK", chunk)
    model = make_model().eval()
    frames, poses, noise = make_batch(2, 5)
    found = model.kl_by_step(frames, poses, frames[:, :-1])
    expected = torch.stack([dance_kl(model, *pair) for pair in zip(frames, poses)])
    torch.testing.assert_close(found, expected)
    arguments = {"teacher_forcing": [True] * 4, "kl_beta": 0.0, "noise": noise}
    _, metrics, _ = model(Batch(frames, poses), **arguments)
    torch.testing.assert_close(found.mean(), metrics["kl"])  # in the unit of training


@pytest.mark.parametrize("prior", ["fixed", "learned"])
@torch.no_grad()
def test_the_kl_of_the_robot_is_that_along_its_rollout(prior):
    model, clip = robot_model(prior=prior), robot_clip()
    frames, conditions = clip.frames[None] / 255, clip.conditions[None]
    _, metrics, predicted = robot_reference.training_loss(
        model,
        frames,
        conditions,
        teacher_forcing=[False] * 5,
        kl_beta=0.0,
        noise=torch.randn(1, 5, 3),
    )
    previous = torch.cat([frames[:, :2], predicted[:, 1:-1]], dim=1)
    found = model.kl_by_step(frames, conditions, previous)
    torch.testing.assert_close(found.sum(), metrics["kl"])
    true = model.kl_by_step(frames, conditions, frames[:, :-1])
    assert torch.equal(found, true) == (prior == "fixed")


def test_losses_are_means_over_the_predicted_frames_of_the_dance(settings):
    model, (clip, other) = make_model().eval(), make_clips([6, 6])
    found = rollout_losses(model, clip, other.frames, settings(train_vi_len=4), CPU)
    squares = (other.frames.numpy() / 255.0 - clip.frames.numpy() / 255.0) ** 2
    assert found["mse"] == pytest.approx(squares[1:].mean())
    with torch.no_grad():
        kl = dance_kl(model, clip.frames / 255, clip.conditions / 255)
    assert found["kl"] == pytest.approx(float(kl.mean()), rel=1e-5)


def test_those_of_the_robot_are_sums_over_the_steps_of_a_window(settings):
    model, clip = robot_model(), robot_clip()
    predicted = clip.frames.flip(0)
    wanted = settings(model="svg", n_past=2, n_future=10)
    found = rollout_losses(model, clip, predicted, wanted.but(train_vi_len=12), CPU)
    squares = (predicted.numpy() / 255.0 - clip.frames.numpy() / 255.0) ** 2
    assert found["mse"] == pytest.approx(11 * squares[2:].mean())
    with torch.no_grad():
        by_step = model.kl_by_step(clip.frames[None] / 255, clip.conditions[None], None)[0]
    assert found["kl"] == pytest.approx(11 * float(by_step[1:].mean()), rel=1e-5)


def test_the_row_has_the_loss_with_the_weight_of_the_epoch(settings):
    pictures = (torch.stack([random_clip(T, seed=k) for k in (0, 1)]) for T in (6, 9))
    model, clips = tiny(), [Clip(str(len(pair[0])), *pair) for pair in pictures]
    validation = validate(model, clips, settings(train_vi_len=4), CPU)
    row = validation.row("val", 0.25)
    losses = [
        rollout_losses(model.eval(), clip, frames, settings(train_vi_len=4), CPU)
        for clip, frames in zip(clips, validation.predictions)
    ]
    for name in ("mse", "kl"):
        assert row[f"val_{name}"] == pytest.approx(np.mean([loss[name] for loss in losses]))
    assert row["val_loss"] == pytest.approx(row["val_mse"] + 0.25 * row["val_kl"])
    psnr = [-10 * np.log10(loss["mse"]) for loss in losses]
    assert min(psnr) - 3 < row["val_psnr"] < max(psnr) + 3


def test_a_model_without_a_posterior_has_its_mse_alone(settings):
    model = Linear(LinearConfig()).eval()
    pixels = torch.randint(256, (2, 8, 3, 12, 12)).byte()
    found = rollout_losses(model, Clip("0", *pixels), pixels[1], settings(), CPU)
    assert found.keys() == {"mse"}
