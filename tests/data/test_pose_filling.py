"""Pose images that have lost limbs for some frames, completed; and what is left alone."""

import numpy as np
import pytest
import torch

from data.pose.camera import project
from data.pose.colors import ALL_LIMBS, LIMBS
from data.pose.filling import fill_poses, lost_frames
from data.pose.fitting import fit_joints
from data.pose.rendering import COURSE_STYLE, ENDS, render
from data.pose.skeleton import joints_of
from demo.motion import dance

T, H, W = 24, 32, 64
GAP = slice(8, 14)
BODY = torch.arange(len(ENDS)) < len(LIMBS)
LEGS = torch.tensor([end.startswith(("knee", "ankle", "toe")) for _, end, _ in ALL_LIMBS])
NOTHING = torch.zeros(len(ENDS), dtype=torch.bool)


@pytest.fixture(scope="module")
def places():
    """Joints (T, J, 2) of somebody who goes from one pose to another in the picture's middle."""
    ends = project(joints_of(dance(np.random.default_rng(0), 300))[[0, 150]])
    low, high = ends.min(axis=1, keepdims=True), ends.max(axis=1, keepdims=True)
    middle, height = (low + high) / 2, (high - low)[..., 1:]
    ends = (ends - middle) / height * 22 + [[[30, 17]], [[36, 17]]]
    share = np.linspace(0, 1, T)[:, None, None]
    return torch.from_numpy(ends[0] + share * (ends[1] - ends[0])).float()


def images_of(places, limbs=BODY):
    """Pose images (T, H, W, 3) of the limbs (L,), or of those of every frame (T, L)."""
    images = render(places, limbs.expand(len(places), -1), H, W, COURSE_STYLE)
    return (255 * images).round().byte().permute(0, 2, 3, 1)


def without(places, limbs, gap=GAP):
    """Pose images that show in some frames no other limbs than these."""
    shown = BODY.repeat(len(places), 1)
    shown[gap] = limbs
    return images_of(places, shown)


@pytest.mark.parametrize("left", [NOTHING, LEGS], ids=["nothing", "legs"])
def test_lost_limbs_are_where_they_were(places, left):
    damaged = without(places, left)
    whole = images_of(places)
    filled, frames = fill_poses(damaged, 6)
    assert frames == 6
    others = np.r_[: GAP.start, GAP.stop : T]
    assert torch.equal(filled[others], whole[others])
    seen = damaged.amin(dim=-1) < 245
    assert torch.equal(filled[seen], damaged[seen])
    fitted = fit_joints(filled[GAP], COURSE_STYLE)
    ends = ENDS[BODY].unique()
    off = (fitted.places - places[GAP]).norm(dim=-1)[:, ends]
    assert off.median() < 0.5
    assert (off < 1).float().mean() > 0.75
    ink = (255.0 - whole[GAP]).sum()
    assert (filled[GAP].float() - whole[GAP].float()).abs().sum() < 0.4 * ink


def test_an_undamaged_sequence_comes_back(places):
    images = images_of(places)
    filled, frames = fill_poses(images, 60)
    assert frames == 0
    assert torch.equal(filled, images)


def test_a_hidden_arm_is_nothing_unusual(places):
    arm = torch.tensor([end in ("wrist_left", "hand_left") for _, end, _ in ALL_LIMBS])
    images = without(places, BODY & ~arm)
    assert torch.equal(fill_poses(images, 60)[0], images)


@pytest.mark.parametrize("away", [(-1, 0), (1, 0), (0, -1)], ids=["left", "right", "top"])
def test_who_left_the_picture_is_left_out(places, away):
    """There and back again: outside in the middle of the sequence."""
    way = torch.tensor(away) * torch.tensor([W, H])
    there = torch.linspace(0, 1, T // 2)
    moved = places[:1] + torch.cat([there, there.flip(0)])[:, None, None] * way
    images = images_of(moved)
    assert (images[T // 2] == 255).all()
    assert not lost_frames(images, 60).any()
    assert torch.equal(fill_poses(images, 60)[0], images)


def test_a_gap_is_filled_up_to_a_length(places):
    images = without(places, NOTHING)
    assert lost_frames(images, 6).nonzero()[0].tolist() == list(range(GAP.start, GAP.stop))
    for longest in (0, 1, 5):
        assert torch.equal(fill_poses(images, longest)[0], images)


def test_a_gap_within_a_longer_one_is_left_with_it(places):
    """Legs alone for long, and without them for two frames, is not two frames without legs."""
    images = without(places, LEGS, slice(4, 20))
    images[11:13] = 255
    assert torch.equal(fill_poses(images, 4)[0], images)


@pytest.mark.parametrize("gap", [slice(0, 4), slice(T - 4, T)], ids=["first", "last"])
def test_what_is_lost_at_an_end_stays_lost(places, gap):
    images = without(places, LEGS, gap)
    assert torch.equal(fill_poses(images, 60)[0], images)


@pytest.mark.parametrize("frames", [1, 2, 3, 9])
def test_a_sequence_without_ink(frames):
    images = torch.full((frames, H, W, 3), 255, dtype=torch.uint8)
    filled, completed = fill_poses(images, 60)
    assert completed == 0
    assert torch.equal(filled, images)
