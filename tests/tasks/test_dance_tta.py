"""Test-time augmentation: what the views are, and that their mean is taken where they are known."""

import torch
from torch import nn

from data.pose.sides import swap_sides
from tasks.dance_tta import SHIFTS, TestTimeAugmentation
from tests.support.vae import H as HEIGHT
from tests.support.vae import W as WIDTH
from tests.support.vae import make_batch, make_model

WHITE = torch.ones(3, HEIGHT, WIDTH)


class Copying(nn.Module):
    """Predicts the previous frame, or the pose."""

    latent_shape = (1,)

    def __init__(self, what: str):
        super().__init__()
        self.what, self.seen = what, []

    def encode_conditions(self, poses):
        return poses

    def initial_state(self, frames):
        return None

    def predict(self, frame, condition, state, noise, truth=None):
        self.seen.append((frame, condition))
        return (frame if self.what == "frame" else condition), state


def predict(model, background, frame, pose):
    augmented = TestTimeAugmentation(model, background)
    state = augmented.initial_state(frame)
    noise = torch.zeros(len(frame), *augmented.latent_shape)
    features = augmented.encode_conditions(pose[:, None])[:, 0]
    return augmented.predict(frame, features, state, noise)[0]


def test_what_is_undone_is_what_was_done():
    """Of a model that changes nothing the mean over all views is its input."""
    background = 0.3 + 0.4 * torch.rand(3, HEIGHT, WIDTH)
    person = torch.rand(2, 3, HEIGHT, WIDTH).round()  # opaque before any of the background
    frame = torch.where(torch.rand(2, 1, HEIGHT, WIDTH) < 0.5, person, background)
    found = predict(Copying("frame"), background, frame, frame)
    assert torch.allclose(found, frame, atol=1e-5)


def test_views_are_as_it_is_shifted_and_flipped_with_colors_of_the_other_side():
    model = Copying("frame")
    frame, pose = torch.rand(2, 2, 3, HEIGHT, WIDTH)
    predict(model, WHITE, frame, pose)
    seen, poses = (x.unflatten(0, (len(SHIFTS) + 1, 2)) for x in model.seen[0])
    assert torch.equal(poses[0], pose)
    assert torch.allclose(poses[-1], swap_sides(pose).flip(-1))
    for view, shift in enumerate(SHIFTS):
        inside = slice(max(shift, 0), WIDTH + min(shift, 0))
        expected = torch.ones_like(pose)
        expected[..., inside] = pose.roll(shift, -1)[..., inside]
        assert torch.equal(poses[view], expected)
    assert torch.equal(seen[0], frame)


def test_a_model_that_knows_nobody_flipped_is_shown_nobody_flipped():
    augmented = TestTimeAugmentation(Copying("pose"), WHITE, flip=False)
    poses = torch.rand(2, 3, 3, HEIGHT, WIDTH)
    views = augmented.encode_conditions(poses)
    assert views.shape[:3] == (2, 3, len(SHIFTS))
    assert torch.equal(views[:, :, 0], poses)


def test_what_left_the_picture_counts_in_no_mean():
    """Shifted out at the left border, the leftmost column is known to fewer views."""
    pose = torch.rand(1, 3, HEIGHT, WIDTH)
    found = predict(Copying("pose"), WHITE, torch.ones_like(pose), pose)
    mirrored = swap_sides(pose)
    views = {0: pose, 1: pose, 2: pose, 3: mirrored}
    assert SHIFTS == (0, 1, -1)
    known = torch.ones(4, WIDTH)
    known[1, -1] = 0  # shifted right: the last column is gone
    known[2, 0] = 0
    mean = sum(views[k] * known[k] for k in views) / known.sum(dim=0)
    assert torch.allclose(found, mean, atol=1e-6)


def test_all_views_of_all_clips_are_one_batch_of_independent_rows():
    model = make_model().eval()
    frames, poses, _ = make_batch(3, 2)
    background = torch.rand(3, HEIGHT, WIDTH)
    with torch.inference_mode():
        together = predict(model, background, frames[:, 0], poses[:, 1])
        for k in range(3):
            alone = predict(model, background, frames[k : k + 1, 0], poses[k : k + 1, 1])
            assert torch.allclose(alone[0], together[k], atol=1e-5)
    assert together.shape == frames[:, 0].shape
