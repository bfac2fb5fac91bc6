"""Test-time augmentation of the dance: predictions from several views of a frame, averaged."""

import torch
from torch import Tensor, nn

from data.pose.sides import swap_sides
from data.warp import Warp

SHIFTS = (0, 1, -1)  # pixels to the right, of the views that are not flipped


class TestTimeAugmentation(nn.Module):
    """A model behind its own contract that predicts every frame from V views, and their mean.

    The views are those that `--augment` trains on: the person flipped, with the limbs of the pose
    in the colors of the other side, or shifted, before a background that stays where it is. All
    views of all clips are one batch. What of a prediction has left the picture counts in no mean.
    """

    __test__ = False  # not a test to collect

    def __init__(self, model: nn.Module, background: Tensor, *, flip: bool = True):
        """background (C, H, W) in [0, 1], on the device of the model.

        flip: whether the flipped person is one of the views, which a model must have trained on.
        """
        super().__init__()
        self.model = model
        shifts = torch.tensor([*SHIFTS, *[0] * flip], device=background.device)
        flipped = torch.zeros_like(shifts, dtype=torch.bool)
        flipped[len(SHIFTS) :] = True
        right = shifts[:, None].expand(-1, background.shape[1])
        self.warp = Warp.of(background, flipped, torch.zeros_like(shifts), right)
        self.views = len(shifts)

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Shape of the noise for one frame: (V, *that of the model*)."""
        return (self.views, *self.model.latent_shape)

    def forward(self, batch, *, noise: Tensor, **how):
        """Return what the model itself does; views are for predictions alone."""
        return self.model(batch, noise=noise[:, :, 0], **how)

    def encode_conditions(self, poses: Tensor) -> Tensor:
        """(B, T, 3, H, W) → (B, T, V, …)."""
        B, T = poses.shape[:2]
        flat = poses.flatten(0, 1)
        flip = self.warp.flipped[:, None, None, None, None]
        views = torch.where(flip, swap_sides(flat), flat)  # (V, B·T, 3, H, W)
        views = self.warp.conditions(views).unflatten(1, (B, T)).flatten(0, 1)
        return self.model.encode_conditions(views).unflatten(0, (self.views, B)).movedim(0, 2)

    def initial_state(self, first_frames: Tensor):
        return self.model.initial_state(self._views_of(first_frames))

    def observe(self, frame: Tensor, condition: Tensor, state, noise: Tensor, known: Tensor):
        frames = self._views_of(frame), self._views_of(known)
        return self.model.observe(
            frames[0], _views_first(condition), state, _views_first(noise), frames[1]
        )

    def predict(
        self, frame: Tensor, condition: Tensor, state, noise: Tensor, truth: Tensor | None = None
    ):
        """Predict from every view, undo the views, and return the mean of what is known there."""
        truth = None if truth is None else self._views_of(truth)
        predicted, state = self.model.predict(
            self._views_of(frame), _views_first(condition), state, _views_first(noise), truth
        )
        predicted, known = self.warp.back(predicted.unflatten(0, (self.views, len(frame))))
        weight = known / known.sum(dim=0)  # (V, 1, 1, H, W); the view as it is knows every pixel
        return (predicted * weight).sum(dim=0), state

    def _views_of(self, frames: Tensor) -> Tensor:
        """(B, C, H, W) → (V·B, C, H, W)."""
        return self.warp.frames(frames.expand(self.views, *frames.shape)).flatten(0, 1)


def _views_first(values: Tensor) -> Tensor:
    """(B, V, …) → (V·B, …)."""
    return values.movedim(1, 0).flatten(0, 1)
