"""Windows that show a person nearer, farther or turned, and poses that lose limbs."""

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from core import distributed
from core.errors import UserError
from data.augmentation.limb_dropout import LONGEST, PATTERNS, SHORTEST, erase, lost_patterns
from data.augmentation.skinning import CHAINS, Turn
from data.augmentation.zoom import Zoom
from data.dance import DanceWindows
from data.pose.colors import ALL_LIMBS
from data.pose.rendering import COURSE_STYLE, ENDS, render
from data.pose.skeleton import JOINT, SIDES
from engine.training.prediction_buffer import PredictionBuffer

CPU = torch.device("cpu")
H, W = 32, 64
BACKGROUND = torch.full((3, H, W), 0.7)


def standing() -> torch.Tensor:
    """Joints (1, 1, J, 2) of somebody who stands with the arms to the sides."""
    places = torch.zeros(len(JOINT), 2)
    rows = {"nose": 5, "neck": 8, "mid_hip": 16, "eye": 4.5, "ear": 4.8}
    legs = {"hip": 16, "knee": 21.5, "ankle": 27, "toe": 28, "heel": 28}
    arms = {"shoulder": 2, "elbow": 6, "wrist": 10, "hand": 12}
    for name, index in JOINT.items():
        joint, _, side = name.rpartition("_")
        sign = {"right": -1, "left": 1}.get(side, 0)
        if joint in arms:
            places[index] = torch.tensor([32.0 + sign * arms[joint], 8.0])
        elif joint in legs:
            places[index] = torch.tensor([32.0 + 2 * sign, legs[joint]])
        else:
            places[index] = torch.tensor([32.0 + sign, rows[joint if sign else name]])
    return places[None, None]


def filmed(places: torch.Tensor) -> torch.Tensor:
    """A frame (1, 1, 3, H, W) of somebody with thick black limbs."""
    shown = torch.ones(1, len(ENDS), dtype=torch.bool)
    black = COURSE_STYLE._replace(width=3 / H, colors=torch.zeros(len(ENDS), 3))
    mask = 1 - render(places[0], shown, H, W, black)
    return (BACKGROUND * (1 - mask))[None]


def no_turn() -> torch.Tensor:
    return torch.zeros(1, len(CHAINS), 2)


# ------------------------------------------------------------------------- zoom


def zoom(scale: float, center=(0.5, 0.5), target=(0.5, 0.5)) -> Zoom:
    return Zoom(torch.tensor([[scale]]), torch.tensor([center]), torch.tensor([target]))


def test_a_zoom_by_one_changes_nothing():
    frames = filmed(standing())
    same = zoom(1.0).frames(frames, BACKGROUND, BACKGROUND)
    torch.testing.assert_close(same, frames, rtol=0, atol=1e-5)


@pytest.mark.parametrize("scale", [0.6, 1.5, 2.5])
def test_a_zoomed_frame_is_that_of_who_stands_nearer(scale):
    """Against somebody rendered at the scaled joints, with limbs as much thicker."""
    change = zoom(scale, center=(0.5, 0.4), target=(0.45, 0.4))
    places = standing()
    moved = change.places(places, (H, W))
    shown = torch.ones(1, len(ENDS), dtype=torch.bool)
    thick = COURSE_STYLE._replace(width=3 * scale / H, colors=torch.zeros(len(ENDS), 3))
    expected = (BACKGROUND * render(moved[0], shown, H, W, thick))[None]
    found = change.frames(filmed(places), BACKGROUND, BACKGROUND)
    unchanged = (filmed(places) - expected).abs().mean()
    assert (found - expected).abs().mean() < 0.25 * unchanged


def test_larger_pictures_make_a_zoomed_person_sharper():
    generator = torch.Generator().manual_seed(0)
    spots = torch.rand(1, 3, 2 * H, 2 * W, generator=generator) * 0.3
    large = interpolate(spots, scale_factor=2, mode="bicubic")[None].clamp(0, 0.3)
    exact = interpolate(large[0], scale_factor=0.5, mode="area")[None]  # twice the size
    small = interpolate(large[0], scale_factor=0.25, mode="area")[None]
    white, change = torch.ones(3, H, W), zoom(2.0)
    middle = exact[..., H // 2 : H // 2 + H, W // 2 : W // 2 + W]
    blurred = change.frames(small, white, white)
    sharp = change.frames(exact, white, torch.ones(3, 2 * H, 2 * W))
    assert (sharp - middle).abs().mean() < 0.6 * (blurred - middle).abs().mean()


# --------------------------------------------------------------------- rotation


def test_limbs_that_are_not_turned_stay_as_they_are():
    places, frames = standing(), filmed(standing())
    turn = Turn.of(no_turn(), places, (H, W))
    torch.testing.assert_close(turn.places, places)
    torch.testing.assert_close(turn.frames(frames, BACKGROUND), frames, rtol=0, atol=0.02)


def test_a_turned_arm_keeps_its_lengths_and_carries_its_pixels():
    angles = no_turn()
    chain = next(k for k, names in enumerate(CHAINS) if names[0] == JOINT["shoulder_left"])
    angles[0, chain] = torch.tensor([0.7, 0.4])
    before = standing()
    turn = Turn.of(angles, before, (H, W))
    for one, other in zip(CHAINS[chain], CHAINS[chain][1:]):
        lengths = [(p[0, 0, one] - p[0, 0, other]).norm() for p in (before, turn.places)]
        torch.testing.assert_close(*lengths)
    still = [j for j in range(len(JOINT)) if j not in CHAINS[chain][1:]]
    torch.testing.assert_close(turn.places[:, :, still], before[:, :, still])
    direction = turn.places[0, 0, JOINT["wrist_left"]] - turn.places[0, 0, JOINT["elbow_left"]]
    assert torch.atan2(direction[1], direction[0]) == pytest.approx(1.1, abs=1e-3)
    found, expected = turn.frames(filmed(before), BACKGROUND), filmed(turn.places)
    unchanged = (filmed(before) - expected).abs().mean()
    assert (found - expected).abs().mean() < 0.3 * unchanged


# ---------------------------------------------------------------------- dropout


def test_limbs_are_lost_in_stretches_as_often_as_asked():
    recordings = [(0, 20_000), (20_100, 40_000)]
    patterns = lost_patterns(recordings, 0.1, seed=0, epoch=4)
    lost = patterns >= 0
    assert not lost[20_000:20_100].any()
    assert lost.mean() == pytest.approx(0.1, abs=0.025)
    edges = np.flatnonzero(np.diff(np.pad(patterns, 1, constant_values=-1)) != 0)
    assert set(np.unique(patterns[lost])) == set(range(len(PATTERNS)))
    lengths = [b - a for a, b in zip(edges, edges[1:]) if patterns[a] >= 0]
    assert min(lengths) >= SHORTEST
    assert np.median(lengths) <= LONGEST
    assert np.array_equal(patterns, lost_patterns(recordings, 0.1, seed=0, epoch=7))
    assert not np.array_equal(patterns, lost_patterns(recordings, 0.1, seed=0, epoch=8))


def test_erasing_limbs_leaves_the_pose_image_of_the_others():
    places = standing()[0]
    shown = torch.ones(1, len(ENDS), dtype=torch.bool)
    whole = render(places, shown, H, W, COURSE_STYLE)
    left = torch.tensor([[end.endswith(SIDES[0]) for _, end, _ in ALL_LIMBS]])
    expected = render(places, left, H, W, COURSE_STYLE)
    found = erase(whole, places, shown, left)
    assert (found - expected).abs().mean() < 0.2 * (whole - expected).abs().mean()
    assert (erase(whole, places, shown, shown) - whole).abs().max() < 1e-6
    assert (erase(whole, places, shown, ~shown) == 1).all()


# ----------------------------------------------------------------- whole windows


def flags(dance_root, **others) -> dict:
    return {"DR": str(dance_root), "train_vi_len": 2, "batch_size": 15, "augment": True} | others


def test_reposed_windows_are_functions_of_seed_epoch_and_batch(dance_root, settings):
    rates = {"zoom_prob": 0.4, "limb_rotation_prob": 0.3, "limb_dropout": 0.3}
    asked = flags(dance_root, **rates, flip_prob=0.0)
    one, again = (DanceWindows(settings(**asked), CPU) for _ in range(2))
    other = DanceWindows(settings(**asked | {"seed": 1}), CPU)
    plain = DanceWindows(settings(**flags(dance_root, flip_prob=0.0)), CPU)
    next(again.batches(0))  # another order of asking
    first, repeated, different, before = (
        next(data.batches(2)) for data in (one, again, other, plain)
    )
    assert torch.equal(first.frames, repeated.frames)
    assert torch.equal(first.conditions, repeated.conditions)
    assert not torch.equal(first.frames, different.frames)
    assert torch.equal(first.index, before.index)
    rows = torch.cat([changed.rows for changed in first.warp.changes])
    assert 0 < len(rows) < 15
    rest = torch.tensor([r for r in range(15) if r not in rows])
    assert torch.equal(first.frames[rest], before.frames[rest])
    assert (first.conditions[rows, 0] == 1).all()


def test_some_windows_lose_limbs_and_nothing_else_changes(dance_root, settings):
    plain, lossy = (
        DanceWindows(settings(**flags(dance_root, limb_dropout=rate)), CPU) for rate in (0, 0.85)
    )
    same = []
    for before, after in zip(plain.batches(0), lossy.batches(0)):
        assert torch.equal(before.frames, after.frames)
        pairs = zip(before.conditions[:, 1], after.conditions[:, 1])
        same += [torch.equal(one, other) for one, other in pairs]
        assert (1 - after.conditions).sum() <= (1 - before.conditions).sum() * 1.001
    assert 0.05 < np.mean(same) < 0.95


def test_the_previous_frame_is_changed_with_its_window_and_not_buffered_back(dance_root, settings):
    data = DanceWindows(settings(**flags(dance_root, zoom_prob=0.5)), CPU)
    batch = next(data.batches(0))
    buffer = PredictionBuffer(data.frames)
    previous = buffer.previous(batch, [False])
    torch.testing.assert_close(previous, batch.frames[:, :-1], rtol=0, atol=0.02)
    rows = torch.cat([changed.rows for changed in batch.warp.changes])
    assert len(rows) > 2
    buffer.keep(batch, torch.zeros_like(batch.frames[:, 1:]), torch.tensor(True))
    index = batch.index[1]
    others = torch.tensor([r for r in range(15) if r not in rows])
    same = [torch.equal(buffer.frames[i], data.frames[i]) for i in index[rows]]
    assert all(i in index[others] or s for i, s in zip(index[rows], same))
    assert not torch.equal(buffer.frames[index[others]], data.frames[index[others]])


def test_two_processes_change_what_one_does(dance_root, settings, monkeypatch):
    asked = settings(**flags(dance_root, zoom_prob=0.3, limb_rotation_prob=0.3, batch_size=14))
    whole = next(DanceWindows(asked, CPU).batches(1))
    half = asked.but(batch_size=7)
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    for rank in range(2):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        part = next(DanceWindows(half, CPU).batches(1))
        own = distributed.local_shard(torch.arange(14))
        torch.testing.assert_close(part.frames, whole.frames[own])
        torch.testing.assert_close(part.conditions, whole.conditions[own])


def test_what_is_a_part_of_the_augmentation_asks_for_it(settings):
    with pytest.raises(UserError, match=r"--zoom_prob 0\.1 .*--augment"):
        settings(zoom_prob=0.1)
