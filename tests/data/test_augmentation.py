"""What is made of windows that were filmed: flipped, shifted and sheared."""

import numpy as np
import pytest
import torch

from data.augmentation.augmentation import Augmentation
from data.pose.colors import LIMBS
from data.pose.picture import draw_pose
from data.pose.sides import swap_sides
from data.pose.skeleton import JOINTS, joints_of
from data.types import Batch, to_float
from data.warp import OPAQUE, median_background
from dataloader import DanceWindows
from demo.motion import dance
from tests.support.warping import B, H, T, W, background_and_frames, some_warp

CPU = torch.device("cpu")


# ---------------------------------------------------------------------- flipping


def mirrored_body(joints: np.ndarray) -> np.ndarray:
    """The joints (J, 3) of who stands on the other side and does the same with the other hand."""
    other = {"right": "left", "left": "right"}
    names = [f"{n.rsplit('_', 1)[0]}_{other[s]}" if (s := n.rsplit("_", 1)[-1]) in other else n
             for n in JOINTS]  # fmt: skip
    order = [JOINTS.index(name) for name in names]
    return joints[order] * (-1, 1, 1)


def pose_tensor(joints: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.array(draw_pose(joints))).permute(2, 0, 1).float() / 255


def test_a_flipped_pose_is_the_pose_of_the_mirrored_body():
    """Flipped and with sides swapped, a pose image is that of the body rendered mirrored."""
    motion = dance(np.random.default_rng(0), 40)
    errors = []
    for joints in joints_of(motion)[::4]:
        expected = pose_tensor(mirrored_body(joints))
        flipped = pose_tensor(joints).flip(-1)
        errors.append([float((x - expected).abs().mean()) for x in (flipped, swap_sides(flipped))])
    flipped, swapped = np.mean(errors, axis=0)
    assert swapped < 0.5 * flipped  # the sides are not equally bright, which hues cannot mend


@pytest.mark.parametrize("name", ["elbow", "wrist", "knee", "ankle", "toe"])
def test_every_limb_takes_the_color_of_its_partner(name):
    right, left = (
        torch.tensor(next(color for _, end, color in LIMBS if end == f"{name}_{side}")) / 255
        for side in ("right", "left")
    )
    for one, other in ((right, left), (left, right)):
        swapped = swap_sides(one[:, None, None])[:, 0, 0]
        assert (swapped - other).abs().sum() < 0.45 * (one - other).abs().sum()


def test_trunk_and_blank_keep_their_color_and_swapping_twice_is_nothing():
    trunk, blank = torch.tensor([120, 90, 255]) / 255, torch.ones(3)
    for color in (trunk, blank):
        torch.testing.assert_close(swap_sides(color[:, None, None])[:, 0, 0], color)
    leg = torch.tensor([50, 235, 100]) / 255
    twice = swap_sides(swap_sides(leg[:, None, None]))[:, 0, 0]
    torch.testing.assert_close(twice, leg)


# ---------------------------------------------------------------------- warping


def test_a_warp_is_that_of_a_slow_reference():
    """Pixel by pixel: the opaque keeps its color, the rest its difference from the background."""
    background, frames = background_and_frames()
    flipped, down = [True, False, False], [1, -2, 0]
    moved = some_warp(background).frames(frames)
    for b in range(B):
        for y in range(H):
            for x in range(W):
                right = [7, y // 4 - 4, 0][b]
                column = x - right
                column = W - 1 - column if flipped[b] else column
                row = y - down[b]
                expected = background[:, y, x]
                if 0 <= row < H and 0 <= column < W:
                    here, behind = frames[b, 0, :, row, column], background[:, row, column]
                    opacity = min(1.0, float((here - behind).abs().max()) / OPAQUE)
                    expected = here + (1 - opacity) * (background[:, y, x] - behind)
                torch.testing.assert_close(moved[b, 0, :, y, x], expected)


def test_a_warp_back_undoes_it_wherever_something_was_moved():
    background, frames = background_and_frames()
    warp = some_warp(background)
    back, known = warp.back(warp.frames(frames))
    known = known.expand_as(frames)
    difference = (frames - background).abs()
    opaque = (difference >= OPAQUE).all(dim=2, keepdim=True) | (difference == 0)
    torch.testing.assert_close(back[known & opaque], frames[known & opaque])
    assert (back - frames)[known].abs().max() < 0.025  # a shadow is a little opaque
    assert not known[0].all()
    assert known[2].all()


def test_conditions_are_warped_with_the_frames():
    background, _ = background_and_frames()
    warp = some_warp(torch.ones_like(background))  # white: nothing but foreground
    pictures = torch.ones(B, T, 3, H, W)
    pictures[:, :, 1:, 8:20, 20:24] = 0.0
    torch.testing.assert_close(warp.conditions(pictures), warp.frames(pictures))


def test_the_background_is_what_is_seen_when_nobody_stands_there():
    generator = np.random.default_rng(0)
    background = generator.integers(100, 200, (H, W, 3), dtype=np.uint8)
    frames, conditions = np.tile(background, (9, 1, 1, 1)), np.full((9, H, W, 3), 255, np.uint8)
    for n, x in enumerate([10] * 6 + [40, 50, 60]):  # the median has somebody in it at x = 10
        frames[n, 8:24, x - 2 : x + 3] = 0
        conditions[n, 9:23, x] = 0
    np.testing.assert_array_equal(median_background(frames, conditions), background)


# ----------------------------------------------------------------- augmentation


def test_nobody_leaves_the_picture_and_who_is_cut_is_not_moved():
    frames = torch.full((40, H, W, 3), 180, dtype=torch.uint8)
    poses = torch.full_like(frames, 255)
    for n in range(40):  # from the left border to the right one, two pixels wide
        x = round(n * (W - 2) / 39)
        frames[n, 4:28, x : x + 2] = 0
        poses[n, 4:28, x : x + 2, 0] = 0
    augmentation = Augmentation(frames, poses, np.arange(0, 40, 3), seed=0)
    index = torch.arange(40)[None]
    pixels, conditions = (to_float(x[index]).permute(1, 0, 4, 2, 3) for x in (frames, poses))
    seen = set()
    for number in range(20):
        batch = augmentation.apply(Batch(pixels, conditions, index), index[0].numpy(), 0, number)
        person = (batch.frames < 0.3).all(dim=2).flatten(1).sum(1)
        assert (person == 48).all()
        for n, cut in ((0, {0, W - 1}), (39, {0, W - 1})):
            columns = (batch.frames[n, 0] < 0.3).all(dim=0).any(dim=0).nonzero().flatten()
            assert cut & set(columns.tolist())
        seen.add(int((batch.frames[20, 0] < 0.3).all(dim=0)[16].nonzero()[0]))
    assert len(seen) > 5


def test_the_part_that_is_flipped_is_a_flag(dance_root, settings):
    flags = {"DR": str(dance_root), "train_vi_len": 2, "batch_size": 15, "augment": True}
    parts = []
    for flip_prob in (0.0, 0.5, 1.0):
        data = DanceWindows(settings(**flags, flip_prob=flip_prob), CPU)
        parts.append(np.mean([float(b.warp.flipped.float().mean()) for b in data.batches(0)]))
    assert parts[::2] == [0, 1]
    assert 0.1 < parts[1] < 0.9


def test_windows_are_augmented_by_seed_epoch_and_batch(dance_root, settings):
    flags = dict(DR=str(dance_root), train_vi_len=2, batch_size=4, augment=True)
    one, again = (DanceWindows(settings(**flags), CPU) for _ in range(2))
    other = DanceWindows(settings(**flags, seed=1), CPU)
    plain = DanceWindows(settings(**flags | {"augment": False}), CPU)
    first, repeated, different = (next(iter(d.batches(3))) for d in (one, again, other))
    assert torch.equal(first.frames, repeated.frames)
    assert torch.equal(first.conditions, repeated.conditions)
    assert not torch.equal(first.warp.sources, different.warp.sources)
    before = next(iter(plain.batches(3)))
    assert torch.equal(first.index, before.index)
    assert before.warp is None
    assert not torch.equal(first.frames, before.frames)


def test_on_a_larger_frame_people_move_as_far_of_its_size():
    """Four times as large, a person is moved up to 48 pixels across and 4 down."""
    frames = np.full((6, 4 * H, 4 * W, 3), 180, np.uint8)
    poses = np.full_like(frames, 255)
    frames[:3, 50:80, 118:140] = 0  # and nobody in the others
    poses[:3, 52:78, 128] = 0
    tensors = (torch.from_numpy(x) for x in (frames, poses))
    augmentation = Augmentation(*tensors, np.arange(6), seed=0, flip_prob=0.0)
    np.testing.assert_array_equal((augmentation.background * 255).round(), 180)
    margins = augmentation.margins[:, np.zeros(400, np.int64)]
    _, down, right = augmentation._sample(margins, 0, 0)
    right = right[:, 2 * H]  # of a row in the middle, which the shear leaves alone
    assert (down.min(), down.max()) == (-4, 4)
    assert 44 <= right.max() <= 52
    assert -52 <= right.min() <= -44
