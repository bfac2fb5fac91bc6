"""Scores against scikit-image and brute force, and the lab's Kaggle rule."""

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

import engine.evaluation.scoring
from data.types import Clip
from engine.evaluation import metrics, poses
from engine.evaluation.metrics import Generate_PSNR, psnr_by_frame, ssim_by_frame
from engine.evaluation.scoring import (
    kaggle_psnr,
    kaggle_summary,
    mean_psnr,
    mean_scores,
    nearest_pose_prediction,
    score,
)


def pictures(rng, frames, height=32, width=64):
    """Smooth random pictures with flat parts, (T, 3, H, W) uint8."""
    coarse = rng.integers(0, 256, (frames, 3, height // 8 + 1, width // 8 + 1))
    fine = coarse.repeat(8, axis=2).repeat(8, axis=3)[:, :, :height, :width]
    return torch.from_numpy(fine.astype(np.uint8))


def noisy(rng, frames, deviation):
    values = frames.numpy() + rng.normal(0, deviation, frames.shape)
    return torch.from_numpy(values.round().clip(0, 255).astype(np.uint8))


@pytest.fixture
def rng():
    return np.random.default_rng(0)


# ---------------------------------------------------------------------- PSNR and SSIM


@pytest.mark.parametrize("deviation", [0.5, 5, 60])
def test_psnr_by_frame_is_that_of_scikit_image(rng, deviation):
    true = pictures(rng, 4)
    predicted = noisy(rng, true, deviation)
    expected = [
        peak_signal_noise_ratio(t.numpy(), p.numpy(), data_range=255)
        for t, p in zip(true, predicted)
    ]
    assert psnr_by_frame(predicted, true).tolist() == pytest.approx(expected, abs=1e-4)


def test_psnr_is_capped_at_100_and_falls_to_0(rng):
    black, white = torch.zeros(1, 3, 16, 16).byte(), torch.full((1, 3, 16, 16), 255).byte()
    assert psnr_by_frame(black, black).item() == 100
    assert psnr_by_frame(black, white).item() == pytest.approx(0, abs=1e-4)
    true = pictures(rng, 3)
    predicted = true.clone()
    predicted[1] = noisy(rng, true[1:2], 20)[0]
    found = psnr_by_frame(predicted, true)
    assert found[[0, 2]].tolist() == [100, 100]  # the neighbors of a bad frame stay perfect
    assert 20 < found[1] < 35


def test_generate_psnr_is_of_all_elements_at_once(rng):
    true = pictures(rng, 2).float() / 255
    predicted = true.clone()
    predicted[0] += 0.1
    predicted[1] += 0.01
    for limit in (1.0, 255.0):
        expected = peak_signal_noise_ratio(
            true.numpy() * limit, predicted.numpy() * limit, data_range=limit
        )
        found = Generate_PSNR(predicted * limit, true * limit, data_range=limit)
        assert found.item() == pytest.approx(expected, abs=1e-3)
    assert Generate_PSNR(predicted, true).item() < 24  # the mean of the frames would be 30
    assert Generate_PSNR(true, true) == float("inf")


@pytest.mark.parametrize(("height", "width"), [(32, 64), (11, 11), (24, 17)])
@pytest.mark.parametrize("deviation", [0, 3, 60])
def test_ssim_by_frame_is_that_of_scikit_image(rng, height, width, deviation):
    """scikit-image reflects at the border; the pixels whose window stays inside are ours."""
    true = pictures(rng, 3, height, width)
    predicted = noisy(rng, true, deviation)
    expected = []
    for t, p in zip(true.numpy(), predicted.numpy()):
        _, values = structural_similarity(
            t,
            p,
            data_range=255,
            channel_axis=0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            full=True,
        )
        expected.append(values[:, 5:-5, 5:-5].mean())
    assert ssim_by_frame(predicted, true).tolist() == pytest.approx(expected, abs=1e-6)


def test_ssim_stays_exact_on_flat_bright_pictures():
    """The variance of a bright flat region is lost in single precision."""
    true = torch.full((1, 3, 16, 16), 254, dtype=torch.uint8)
    predicted = true.clone()
    predicted[:, :, ::2] = 255
    found = ssim_by_frame(predicted, true).item()
    t, p = true[0].numpy(), predicted[0].numpy()
    arguments = {"data_range": 255, "channel_axis": 0, "gaussian_weights": True, "sigma": 1.5}
    _, values = structural_similarity(t, p, use_sample_covariance=False, full=True, **arguments)
    assert found == pytest.approx(values[:, 5:-5, 5:-5].mean(), abs=1e-6)


# -------------------------------------------------------------------- clips and Kaggle


def test_score_leaves_the_given_frame_out_and_copies_it_as_baseline(rng):
    true = pictures(rng, 5)
    predicted = noisy(rng, true, 12)
    predicted[0] = 0  # the given frame is not scored
    found = score(Clip("a", true, true), predicted)
    for k in range(1, 5):
        expected = (
            peak_signal_noise_ratio(true[k].numpy(), predicted[k].numpy(), data_range=255),
            peak_signal_noise_ratio(true[k].numpy(), true[0].numpy(), data_range=255),
        )
        assert (found.psnr[k - 1], found.copy_psnr[k - 1]) == pytest.approx(expected, abs=1e-4)
    expected = ssim_by_frame(true[:1].expand(4, -1, -1, -1), true[1:]).tolist()
    assert found.copy_ssim.tolist() == pytest.approx(expected)
    assert found.ssim.tolist() == ssim_by_frame(predicted[1:], true[1:]).tolist()
    table = found.table()
    assert table["frame"].tolist() == [1, 2, 3, 4]
    assert table["psnr"].tolist() == found.psnr.tolist()
    assert table["copy_first_psnr"].tolist() == found.copy_psnr.tolist()


def test_a_still_clip_is_copied_perfectly(rng):
    still = pictures(rng, 1).expand(4, -1, -1, -1)
    found = score(Clip("still", still, still), noisy(rng, still, 9))
    assert found.copy_psnr.tolist() == [100.0] * 3
    assert found.copy_ssim.tolist() == pytest.approx([1.0] * 3)


def test_mean_scores_weigh_every_sequence_alike(rng):
    long, short = pictures(rng, 9), pictures(rng, 3)
    clips = [Clip("long", long, long), Clip("short", short, short)]
    predictions = [noisy(rng, long, 40), noisy(rng, short, 2)]
    scores = [score(clip, predicted) for clip, predicted in zip(clips, predictions)]
    expected = (np.mean(scores[0].psnr) + np.mean(scores[1].psnr)) / 2
    assert mean_scores(scores)["psnr"] == pytest.approx(expected)
    assert mean_psnr(clips, predictions) == mean_scores(scores)["psnr"]


def test_kaggle_takes_frames_1_to_600(rng):
    true = torch.from_numpy(rng.integers(0, 256, (630, 3, 11, 11), dtype=np.uint8))
    clip = Clip("a", true, true)
    predicted = noisy(rng, true, 10)

    def kaggle(frames):
        return kaggle_psnr(score(clip, frames).psnr)

    expected = np.mean(
        [
            peak_signal_noise_ratio(true[k].numpy(), predicted[k].numpy(), data_range=255)
            for k in range(1, 601)
        ]
    )
    assert kaggle(predicted) == pytest.approx(expected, abs=1e-4)
    for number in (0, 601, 629):
        changed = predicted.clone()
        changed[number] = 255 - changed[number]
        assert kaggle(changed) == kaggle(predicted)
    for number in (1, 600):
        changed = predicted.clone()
        changed[number] = 255 - changed[number]
        assert kaggle(changed) < kaggle(predicted) - 1e-3


def test_kaggle_of_a_short_sequence_takes_all_of_it():
    assert kaggle_psnr(np.array([10.0, 20.0, 60.0], np.float32)) == 30


def test_kaggle_public_and_private_with_five_sequences_only():
    five = kaggle_summary([10.0, 20.0, 30.0, 40.0, 60.0])
    assert five == {"mean": 32.0, "public": 20.0, "private": 50.0}
    for count in (1, 4, 6):
        assert kaggle_summary([10.0] * count) == {"mean": 10.0}


# ------------------------------------------------------------------------ nearest pose


def brute_force(wanted, poses):
    """The first index with the least squared distance, in integers."""
    distances = [((poses.astype(np.int64) - pose) ** 2).sum((1, 2, 3)) for pose in wanted]
    return np.argmin(distances, axis=1)


def colors_last(images):
    return images.permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize("known", [1, 50, 4095, 4096, 4097, 8200])
def test_nearest_pose_is_that_of_brute_force(rng, known):
    frames, poses = rng.integers(0, 256, (2, known, 2, 3, 3), dtype=np.uint8)
    conditions = torch.from_numpy(rng.integers(0, 256, (6, 3, 2, 3), dtype=np.uint8))
    clip = Clip("a", conditions[:1] // 2, conditions)
    found = nearest_pose_prediction(clip, frames, poses)
    expected = frames[brute_force(colors_last(conditions).astype(np.int64), poses)]
    assert torch.equal(found[0], clip.frames[0])
    assert np.array_equal(colors_last(found)[1:], expected[1:])


@pytest.mark.parametrize("place", [0, 4095, 4096, 8191, 8192])
def test_an_exact_pose_is_found_wherever_it_lies(rng, place):
    frames, poses = rng.integers(0, 256, (2, 8193, 2, 2, 3), dtype=np.uint8)
    conditions = torch.from_numpy(poses[[0, place]]).permute(0, 3, 1, 2)
    found = nearest_pose_prediction(Clip("a", conditions[:1], conditions), frames, poses)
    assert np.array_equal(colors_last(found)[1], frames[place])


def test_nearest_pose_is_exact_on_white_pose_images_of_full_size(rng):
    """Drawn poses are white but for thin lines, so that near candidates differ by little."""
    poses = np.full((40, 32, 64, 3), 255, np.uint8)
    places = rng.integers(0, poses[0].size, (40, 6))
    for pose, place in zip(poses, places):
        pose.reshape(-1)[place] -= rng.integers(1, 4, 6).astype(np.uint8)
    conditions = torch.from_numpy(poses[:20]).permute(0, 3, 1, 2)
    frames = rng.integers(0, 256, poses.shape, dtype=np.uint8)
    found = nearest_pose_prediction(Clip("a", conditions[:1], conditions), frames, poses)
    assert np.array_equal(colors_last(found)[1:], frames[1:20])


def test_copying_is_scored_once_for_a_clip(rng, monkeypatch):
    """A validation scores the same clips each time, and the baseline does not change."""
    true = pictures(rng, 5)
    clips = [Clip("a", true, true), Clip("a", true.flip(1), true), Clip("a", true, true, 2)]
    calls = []

    def counted(*pair):
        calls.append(pair)
        return ssim_by_frame(*pair)

    monkeypatch.setattr(engine.evaluation.scoring, "ssim_by_frame", counted)
    first = [score(clip, noisy(rng, clip.frames, 5)) for clip in clips]
    assert len(calls) == 6
    again = [score(clip, noisy(rng, clip.frames, 9)) for clip in clips]
    assert len(calls) == 9  # of the predictions alone
    for one, other, clip in zip(first, again, clips):
        repeated = clip.frames[clip.n_past - 1].expand_as(clip.frames[clip.n_past :])
        expected = ssim_by_frame(repeated, clip.frames[clip.n_past :])
        np.testing.assert_array_equal(one.copy_ssim, expected)
        np.testing.assert_array_equal(one.copy_ssim, other.copy_ssim)
        assert (one.ssim != other.ssim).any()


@pytest.mark.parametrize("metric", [psnr_by_frame, ssim_by_frame])
def test_frames_that_are_looked_at_by_parts_score_the_same(metric, monkeypatch):
    generator = torch.Generator().manual_seed(0)
    clips = torch.randint(0, 256, (2, 7, 3, 16, 20), generator=generator).to(torch.uint8)
    whole = metric(*clips)
    monkeypatch.setattr(metrics, "PIXELS_TOGETHER", 3 * 16 * 20)
    torch.testing.assert_close(metric(*clips), whole)
    assert len(metric(*clips[:, :0])) == 0


def test_the_nearest_pose_is_the_same_however_many_are_compared_together(monkeypatch):
    rng = np.random.default_rng(0)
    training = rng.integers(0, 256, (2, 9, 4, 6, 3), dtype=np.uint8)
    conditions = torch.from_numpy(rng.integers(0, 256, (5, 3, 4, 6), dtype=np.uint8))
    clip = Clip("0", conditions, conditions)
    whole = nearest_pose_prediction(clip, *training)
    monkeypatch.setattr(poses, "CHUNK", 2 * 72)
    assert torch.equal(nearest_pose_prediction(clip, *training), whole)
