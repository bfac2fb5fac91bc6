"""What the protocols damage and score, and their commands as a user runs them."""

import sys

import numpy as np
import pandas as pd
import pytest
import torch

import Trainer
from benchmarks import by_category, by_recording, dance_models, lost_limbs, previous_frame
from benchmarks.limbs import KINDS, without
from core.errors import UserError
from data.pose.picture import draw_pose
from data.pose.skeleton import JOINT
from data.types import Clip
from demo.categories import NONE, make_dataset, sequence
from engine.evaluation.metrics import psnr_by_frame
from tests.support import ROOT
from tests.support.hostile import WIDTHS, call

TINY = [
    *WIDTHS,
    *["--preset", "quick", "--patch_size", "1", "--batch_size", "4", "--num_epoch", "1"],
]


@pytest.fixture(scope="module")
def held_out(dance_root, tmp_path_factory):
    """A tiny model that has held out the last recording of the synthetic data."""
    folder = tmp_path_factory.mktemp("held") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        code, said = call(
            Trainer, "--DR", dance_root, "--save_root", folder, *TINY, "--holdout", "47:60"
        )
    assert code == 0, said
    return folder


@pytest.fixture
def table_of(monkeypatch, capsys):
    """`table_of(benchmark, flag, …)` runs it here; returns the last table as rows of cells."""

    def run(benchmark, *flags):
        monkeypatch.setattr(sys, "argv", [benchmark.__name__, *map(str, flags)])
        benchmark.main()
        lines = capsys.readouterr().out.split("\n\n")[-1].strip().splitlines()
        return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]

    return run


# --------------------------------------------------------------------- lost limbs


@pytest.mark.parametrize("frames", [300, 630, 631, 2000])
def test_stretches_damage_a_seventh_in_pieces_apart(frames):
    lost = lost_limbs.stretches(frames)
    lengths = [where.stop - where.start for _, where in lost]
    assert abs(sum(lengths) - 0.15 * frames) < 10
    assert min(lengths) >= 10
    assert max(lengths) <= 60
    edges = [0, *(edge for _, where in lost for edge in (where.start, where.stop)), frames]
    assert edges == sorted(edges)
    assert min(b - a for a, b in zip(edges[:-2:2], edges[1::2])) >= 10
    assert [kind for kind, _ in lost[:3]] == list(KINDS)
    assert lost == lost_limbs.stretches(frames)


def test_too_short_a_holdout_is_refused():
    with pytest.raises(UserError, match="too few"):
        lost_limbs.stretches(40)


def test_scores_are_those_of_the_frames_that_are_damaged():
    psnr = np.arange(1.0, 10.0)  # of frames 1 to 9
    means = lost_limbs.split(psnr, [(KINDS[0], slice(2, 4)), (KINDS[2], slice(7, 8))])
    assert means["damaged frames"] == pytest.approx((2 + 3 + 7) / 3)
    assert means[f"lost: {KINDS[0]}"] == 2.5
    assert means["lost: all"] == 7
    assert f"lost: {KINDS[1]}" not in means
    assert means["other frames"] == pytest.approx((1 + 4 + 5 + 6 + 8 + 9) / 6)
    assert means["all frames"] == 5


def pose_images(lost):
    joints, _ = sequence(0, NONE, 200)
    drawn = [np.asarray(draw_pose(place, lost=lost)) for place in joints[::10]]
    return torch.from_numpy(np.stack(drawn)).permute(0, 3, 1, 2)


def test_one_side_by_color_is_that_side_rendered_alone():
    whole, middle = pose_images(()), {"neck", "mid_hip", "nose"}
    left = {name for name in JOINT if name.endswith("_left")}
    expected = pose_images(left | middle) < 235  # without the limbs between side and middle
    other = pose_images({name for name in JOINT if name.endswith("_right")} | middle) < 235
    found = without(whole, "all but one side") < 255
    assert ((found == (whole < 255)) | ~found).all()
    found, expected, other = (x.any(dim=1) for x in (found, expected, other))
    assert (found & expected).sum() > 0.85 * expected.sum()
    assert (found & other & ~expected).sum() < 0.15 * other.sum()


def test_of_all_but_the_hips_what_is_left_lies_about_the_hips():
    whole = pose_images(())
    found = (without(whole, "all but the hips") < 255).any(dim=1)
    thighs = {"mid_hip", "hip_right", "hip_left", "knee_right", "knee_left"}
    expected = (pose_images(set(JOINT) - thighs) < 235).any(dim=1)
    assert (found & expected).sum() > 0.8 * expected.sum()
    assert found.sum() < 0.5 * (whole < 255).any(dim=1).sum()
    assert (without(whole, "all") == 255).all()


def test_damaged_poses_leave_frames_and_other_poses_alone():
    poses = pose_images(())
    clip = Clip("0", poses.flip(1), poses)
    found = lost_limbs.damaged(clip, [("all", slice(3, 5))])
    assert torch.equal(found.frames, clip.frames)
    changed = (found.conditions != poses).flatten(1).any(dim=1)
    assert changed.nonzero().flatten().tolist() == [3, 4]


# ----------------------------------------------------------------------- commands


def test_a_recording_that_was_held_out_is_scored(held_out, dance_root, table_of):
    rows = table_of(by_recording, "--DR", dance_root, "--ckpt_path", held_out)
    assert [row[0] for row in rows[2:]] == ["0–20", "21–33", "34–46", "47–59", "mean"]
    (score,) = {row[3] for row in rows[2:6]} - {"–"}
    assert rows[5][3] == score
    with (held_out / "metrics.csv").open() as file:
        logged = pd.read_csv(file).iloc[-1]
    assert float(score) == pytest.approx(logged["holdout_psnr"], abs=0.02)
    assert float(rows[5][1]) == pytest.approx(logged["holdout_copy_first_psnr"], abs=0.01)
    assert float(rows[5][2]) == pytest.approx(logged["holdout_nearest_pose_psnr"], abs=0.01)


def test_a_model_that_saw_the_recordings_is_refused(held_out, dance_root):
    model = dance_models.DanceModel(held_out, dance_root, holdout=(40, 50))
    with pytest.raises(UserError, match="none of the recordings 0:21, 21:34, 34:47, 47:60"):
        by_recording.held_out(model, by_recording.recordings_of(str(dance_root)))


def test_what_is_trained_is_trained_once(monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(dance_models, "call", lambda *words: calls.append(words))
    paths = [
        dance_models.train("ROOT", tmp_path, seed, "--holdout 1:9", flags)
        for seed, flags in [(0, ""), (1, ""), (0, "--lr 1e-3"), (0, "")]
    ]
    assert len(calls) == len(set(calls)) == len(set(paths)) == 3
    assert "--seed 1 --holdout 1:9" in " ".join(calls[1])


def test_lost_limbs_as_a_command(held_out, dance_root, table_of, monkeypatch):
    monkeypatch.setattr(lost_limbs, "STRETCH", (1, 2))
    monkeypatch.setattr(lost_limbs, "SHARE", 0.4)
    rows = table_of(lost_limbs, "--DR", dance_root, "--ckpt_path", held_out)
    cells = {row[0]: [float(cell) for cell in row[2:]] for row in rows[2:]}
    kinds = [f"lost: {kind}" for kind in KINDS]
    assert list(cells) == ["damaged frames", *kinds, "other frames", "all frames"]
    assert [len(row) for row in cells.values()] == [3] * len(cells)
    # of 12 frames 5 are damaged
    for damaged, others, every in zip(*(cells[k] for k in cells if k.endswith("frames"))):
        assert every == pytest.approx((5 * damaged + 7 * others) / 12, abs=0.02)


def test_before_lost_limbs_the_true_frame_is_repeated(held_out, dance_root, monkeypatch):
    monkeypatch.setattr(lost_limbs, "STRETCH", (1, 2))
    monkeypatch.setattr(lost_limbs, "SHARE", 0.4)
    clip = dance_models.DanceModel(held_out, dance_root).holdout()
    frames = clip.frames.float() / 255
    before = {
        t: lost.start - 1
        for _, lost in lost_limbs.stretches(len(clip))
        for t in range(lost.start, lost.stop)
    }
    errors = [(frames[t] - frames[seen]).square().mean() for t, seen in before.items()]
    repeated = lost_limbs.scores_of_repeating(clip)
    assert repeated["damaged frames"] == pytest.approx(-10 * np.mean(np.log10(errors)), abs=0.01)
    assert list(repeated) == ["damaged frames", *(f"lost: {kind}" for kind in KINDS)]


def test_the_previous_frame_as_a_command(held_out, dance_root, table_of, monkeypatch):
    monkeypatch.setattr(previous_frame, "AFTER", (1, 2))
    monkeypatch.setattr(previous_frame, "EVERY", 2)
    rows = table_of(previous_frame, "--DR", dance_root, "--ckpt_path", held_out)
    assert [row[0] for row in rows[2:]] == ["1", "2"]
    assert all(float(cell) > 3 for row in rows[2:] for cell in row[1:])


def test_a_trained_model_needs_its_pose_and_its_previous_frame(dance_root):
    model = dance_models.DanceModel(ROOT / "pretrained/dance.safetensors", dance_root)
    (clip,) = model.data.validation_clips()["val"]
    right, wrong = clip.frames[:-1], clip.frames[:-1].flip(3)
    truth, poses = clip.frames[1:], clip.conditions[1:]
    whole, lost = poses, without(poses, "all")

    def psnr(previous, poses):
        predicted = previous_frame.one_step(model, previous, poses)
        return float(psnr_by_frame(predicted, truth).mean())

    assert psnr(right, whole) > psnr(wrong, whole) + 0.1
    assert psnr(right, whole) > psnr(right, lost) + 3
    (first,) = model.rollout([clip])
    assert torch.equal(first[1], previous_frame.one_step(model, right[:1], poses[:1])[0])


def test_categories_as_a_command(held_out, tmp_path, table_of):
    make_dataset(tmp_path / "data", train_frames=4, sequence_length=3)
    rows = table_of(by_category, "--data", tmp_path / "data", "--ckpt_path", held_out)
    assert rows[0][1:3] == ["first frame", "nearest pose"]
    assert "kneeling: other frames" in {row[0] for row in rows}
    assert rows[-1][0] == NONE


def test_scores_by_category_are_those_of_its_frames():
    table = pd.DataFrame(
        [(0, "a", t, int(t in (0, 2))) for t in range(4)] + [(1, "b", t, 1) for t in range(3)],
        columns=["sequence", "category", "frame", "shown"],
    )
    found = by_category.split_by_category([np.array([1.0, 2, 3]), np.array([5.0, 7])], table)
    assert found == {"a": 2, "a: other frames": 2, "b": 6}
