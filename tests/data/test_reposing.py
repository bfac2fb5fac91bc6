"""Windows that show a person nearer, farther or turned, and poses that lose limbs."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate
from tqdm import tqdm

from core import distributed
from core.errors import UserError
from data.augmentation import augmentation, stretches
from data.augmentation.limb_dropout import erase
from data.augmentation.reposing import EPOCHS, MOST_BYTES, UNTIL
from data.augmentation.skinning import CHAINS, Turn
from data.augmentation.zoom import Zoom
from data.dance_windows import DanceWindows
from data.pose.colors import ALL_LIMBS
from data.pose.rendering import COURSE_STYLE, ENDS, render
from data.pose.skeleton import JOINT, SIDES
from engine.training.loop import TrainingLoop
from engine.training.prediction_buffer import PredictionBuffer

CPU = torch.device("cpu")
H, W = 32, 64
BACKGROUND = torch.full((3, H, W), 0.7)


def standing() -> torch.Tensor:
    """Joints (1, J, 2) of somebody who stands with the arms to the sides."""
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
    return places[None]


def filmed(places: torch.Tensor) -> torch.Tensor:
    """A frame (1, 3, H, W) of somebody with thick black limbs."""
    shown = torch.ones(1, len(ENDS), dtype=torch.bool)
    black = COURSE_STYLE._replace(width=3 / H, colors=torch.zeros(len(ENDS), 3))
    mask = 1 - render(places, shown, H, W, black)
    return BACKGROUND * (1 - mask)


def no_turn() -> torch.Tensor:
    return torch.zeros(1, len(CHAINS), 2)


# ------------------------------------------------------------------------- zoom


def zoom(scale: float, center=(0.5, 0.5)) -> Zoom:
    return Zoom(torch.tensor([scale]), torch.tensor([center]))


def test_a_zoom_by_one_changes_nothing():
    frames = filmed(standing())
    same = zoom(1.0).frames(frames, BACKGROUND)
    torch.testing.assert_close(same, frames, rtol=0, atol=1e-5)


@pytest.mark.parametrize("scale", [0.6, 1.5, 2.5])
def test_a_zoomed_frame_is_that_of_who_stands_nearer(scale):
    """Against somebody rendered at the scaled joints, with limbs as much thicker."""
    change = zoom(scale, center=(0.6, 0.4))
    places = standing()
    moved = change.places(places, (H, W))
    shown = torch.ones(1, len(ENDS), dtype=torch.bool)
    thick = COURSE_STYLE._replace(width=3 * scale / H, colors=torch.zeros(len(ENDS), 3))
    expected = BACKGROUND * render(moved, shown, H, W, thick)
    found = change.frames(filmed(places), BACKGROUND)
    unchanged = (filmed(places) - expected).abs().mean()
    assert (found - expected).abs().mean() < 0.25 * unchanged


def test_larger_pictures_make_a_zoomed_person_sharper():
    generator = torch.Generator().manual_seed(0)
    spots = torch.rand(1, 3, 2 * H, 2 * W, generator=generator) * 0.3
    large = interpolate(spots, scale_factor=2, mode="bicubic").clamp(0, 0.3)
    exact = interpolate(large, scale_factor=0.5, mode="area")  # twice the size
    small = interpolate(large, scale_factor=0.25, mode="area")
    white, change = torch.ones(3, H, W), zoom(2.0)
    middle = exact[..., H // 2 : H // 2 + H, W // 2 : W // 2 + W]
    blurred = change.frames(small, white)
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
        lengths = [(p[0, one] - p[0, other]).norm() for p in (before, turn.places)]
        torch.testing.assert_close(*lengths)
    still = [j for j in range(len(JOINT)) if j not in CHAINS[chain][1:]]
    torch.testing.assert_close(turn.places[:, still], before[:, still])
    direction = turn.places[0, JOINT["wrist_left"]] - turn.places[0, JOINT["elbow_left"]]
    assert torch.atan2(direction[1], direction[0]) == pytest.approx(1.1, abs=1e-3)
    found, expected = turn.frames(filmed(before), BACKGROUND), filmed(turn.places)
    unchanged = (filmed(before) - expected).abs().mean()
    assert (found - expected).abs().mean() < 0.3 * unchanged


# ---------------------------------------------------------------------- dropout


def test_erasing_limbs_leaves_the_pose_image_of_the_others():
    places = standing()
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


def whole_epoch(data: DanceWindows, version: int) -> tuple[torch.Tensor, ...]:
    """Frames, poses and their indices of all windows of an epoch, in the order of the frames."""
    data.version = version
    batches = list(data.batches(3))
    index = torch.cat([batch.index.T for batch in batches])
    frames, poses = (torch.cat(parts) for parts in zip(*[batch[:2] for batch in batches]))
    order = index[:, 0].argsort()
    return frames[order], poses[order], index[order]


ALL_RATES = {"zoom_prob": 0.3, "limb_rotation_prob": 0.3, "limb_dropout": 0.3}
STILL = {"flip_prob": 0.0, "fixed_windows": True}


@pytest.fixture
def unmoved(monkeypatch):
    """People stay where they are: what differs is what this file is about."""
    for name in ("RIGHT", "DOWN", "SHEAR"):
        monkeypatch.setattr(augmentation, name, 0)


def test_changed_frames_are_functions_of_seed_and_version(dance_root, settings, unmoved):
    asked = flags(dance_root, **ALL_RATES, **STILL)
    one, again = (DanceWindows(settings(**asked), CPU) for _ in range(2))
    other = DanceWindows(settings(**asked | {"seed": 1}), CPU)
    plain = DanceWindows(settings(**flags(dance_root, **STILL)), CPU)
    whole_epoch(again, 5)  # another order of asking
    first, repeated, different = (whole_epoch(data, 2) for data in (one, again, other))
    assert torch.equal(first[0], repeated[0])
    assert torch.equal(first[1], repeated[1])
    assert not torch.equal(first[0], different[0])
    assert not torch.equal(first[0], whole_epoch(one, 3)[0])
    assert torch.equal(whole_epoch(one, 0)[0], whole_epoch(plain, 0)[0])


def test_the_last_of_training_sees_frames_as_they_were_filmed(dance_root, settings):
    data = DanceWindows(settings(**flags(dance_root, zoom_prob=0.3)), CPU)
    first, same, other = (data.version_in(epoch, 0.1) for epoch in (0, EPOCHS - 1, EPOCHS))
    assert first == same != other
    assert 0 not in (first, other)
    assert data.version_in(EPOCHS, UNTIL) == 0
    assert DanceWindows(settings(**flags(dance_root)), CPU).version_in(0, 0.1) == 0


@pytest.fixture
def short(monkeypatch):
    """Stretches of a tenth of the small data set."""
    monkeypatch.setattr(stretches, "SHORTEST", 4)
    monkeypatch.setattr(stretches, "LONGEST", 8)
    monkeypatch.setattr(stretches, "FEWEST", 2)


@pytest.mark.parametrize("name", ALL_RATES)
def test_as_many_frames_as_asked_are_changed_in_stretches(
    name, dance_root, settings, unmoved, short
):
    """So many and no more; all that can be changed are in the course of versions."""
    rate = 0.4
    plain = DanceWindows(settings(**flags(dance_root, **STILL)), CPU)
    data = DanceWindows(settings(**flags(dance_root, **STILL, **{name: rate})), CPU)
    usable = getattr(data.reposing.can_be, name.removesuffix("_prob"))
    assert usable.mean() > rate
    ever = np.zeros(len(usable), bool)
    for version in range(1, 9):
        before, after = whole_epoch(plain, 0), whole_epoch(data, version)
        drawn = [s for kind in data.reposing.stretches(version, 1) for s in kind]
        rows = np.concatenate([stretch.rows for stretch in drawn])
        assert all(len(stretch.rows) >= 2 for stretch in drawn)
        assert rate * len(usable) - 8 <= len(rows) <= rate * len(usable) + 8
        changed = np.isin(after[2].numpy(), rows)
        same, same_poses = ((x == y).flatten(2).all(2).numpy() for x, y in zip(before, after[:2]))
        assert same[~changed].all()
        assert same_poses[~changed].all()
        if name == "limb_dropout":
            assert same.all()
            assert (1 - after[1]).sum() < (1 - before[1]).sum()
        else:
            assert not same[changed].any()
            assert not same_poses[changed].any()
        ever[rows] = True
    assert not ever[~usable].any()
    assert ever[usable].mean() > 0.7


def test_no_frame_is_changed_in_two_ways(dance_root, settings, short):
    data = DanceWindows(settings(**flags(dance_root, **ALL_RATES)), CPU)
    for version in range(1, 6):
        kinds = data.reposing.stretches(version, 1)
        assert sum(map(len, kinds))
        rows = np.concatenate([s.rows for kind in kinds for s in kind])
        assert len(np.unique(rows)) == len(rows)


def test_of_a_set_larger_than_memory_a_smaller_part_is_changed(dance_root, settings, short):
    data = DanceWindows(settings(**flags(dance_root, zoom_prob=0.5)), CPU)
    few, many = (
        sum(len(s.rows) for s in data.reposing.stretches(1, size).zoom)
        for size in (MOST_BYTES // 2 // 10, 1)  # of the first 10 frames may be changed
    )
    assert 0 < few <= 10 + 8 < many


def test_predictions_of_changed_frames_begin_anew(dance_root, settings, short):
    data = DanceWindows(settings(**flags(dance_root, zoom_prob=0.3)), CPU)
    buffer = PredictionBuffer(data.frames)
    buffer.renew(1, *data.changed_frames(1, 0))
    rows = data.reposing.stretches(1, 1).zoom
    rows = np.concatenate([stretch.rows for stretch in rows])
    others = np.setdiff1d(np.arange(len(data.frames)), rows)
    assert torch.equal(buffer.frames[others], data.frames[others])
    differ = (buffer.frames[rows] != data.frames[rows]).flatten(1).any(1)
    assert differ.all()
    buffer.frames.fill_(7)
    buffer.renew(2, *data.changed_frames(2, 1))
    fresh = PredictionBuffer(data.frames)
    fresh.renew(2, *data.changed_frames(2, 0))
    begun = (buffer.frames != 7).flatten(1).any(1)
    assert begun[rows].all()
    assert torch.equal(buffer.frames[begun], fresh.frames[begun])
    assert torch.equal(fresh.frames[~begun], data.frames[~begun])


def test_the_previous_frame_is_changed_with_its_window(dance_root, settings):
    data = DanceWindows(settings(**flags(dance_root, **ALL_RATES)), CPU)
    buffer = PredictionBuffer(data.frames)
    buffer.renew(1, *data.changed_frames(1, 0))
    data.version = 1
    batch = next(data.batches(0))
    previous = buffer.previous(batch, [False])
    torch.testing.assert_close(previous, batch.frames[:, :-1], rtol=0, atol=0.02)


@pytest.mark.parametrize("begun", [0, 2], ids=["at its start", "in the middle"])
def test_a_buffer_begun_in_an_epoch_has_its_frames(begun, dance_root, settings):
    """As where a run is resumed that had no buffer; at the start its version is that of before."""
    data = DanceWindows(settings(**flags(dance_root, **ALL_RATES)), CPU)
    run = SimpleNamespace(epoch=3, progress=0.3, frames_version=1)
    run.epoch_metrics = SimpleNamespace(batches=begun)
    run.prediction_buffer = PredictionBuffer(data.frames)
    TrainingLoop.settle_frames(SimpleNamespace(run=run, data=data), tqdm(disable=True))
    assert run.frames_version == data.version == 1
    batch = next(data.batches(3))
    previous = run.prediction_buffer.previous(batch, [False])
    torch.testing.assert_close(previous, batch.frames[:, :-1], rtol=0, atol=0.02)


def test_a_run_is_resumed_without_the_flags_that_changed_its_frames(dance_root, settings):
    """From the middle of an epoch, and at the start of the next."""
    data = DanceWindows(settings(**flags(dance_root, **STILL)), CPU)
    filmed_ones = whole_epoch(data, 0)
    for frames, expected in zip(whole_epoch(data, 3), filmed_ones):
        assert torch.equal(frames, expected)
    assert data.version_in(1, 0.1) == 0
    buffer = PredictionBuffer(data.frames)
    buffer.renew(0, *data.changed_frames(0, 3))
    assert torch.equal(buffer.frames, data.frames)


def test_two_processes_change_what_one_does(dance_root, settings, monkeypatch):
    asked = settings(**flags(dance_root, **ALL_RATES, batch_size=14))
    data = DanceWindows(asked, CPU)
    data.version = 1
    whole = next(data.batches(1))
    half = asked.but(batch_size=7)
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    for rank in range(2):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        data = DanceWindows(half, CPU)
        data.version = 1
        part = next(data.batches(1))
        own = distributed.local_shard(torch.arange(14))
        torch.testing.assert_close(part.frames, whole.frames[own])
        torch.testing.assert_close(part.conditions, whole.conditions[own])


def test_what_is_a_part_of_the_augmentation_asks_for_it(settings):
    with pytest.raises(UserError, match=r"--zoom_prob 0\.1 .*--augment"):
        settings(zoom_prob=0.1)
