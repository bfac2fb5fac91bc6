"""Windows that were never filmed: the foreground flipped, shifted and sheared, the background not.

A frame is a static background with a foreground, told apart by background subtraction. The more a
pixel differs from the background, the more opaque it is; what is opaque keeps its color where it
goes, what is not takes the color of the background there and keeps its difference, such as a
shadow. Rows move as a whole and by whole pixels, so nothing is blurred; frames and conditions are
warped alike.
"""

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

OPAQUE = 0.25  # difference from the background, of 1, from which a pixel shows none of it
REACH = 6  # pixels around a rendered condition in which the person is to be expected, of a frame
# of 32 rows, and of a larger one in proportion
TOGETHER = 1 << 24  # pixels that are looked at together


@dataclass(frozen=True)
class Warp:
    """Where the pixels of B windows go: flipped left to right or not, then shifted row by row.

    background (C, H, W); sources and targets (B, H·W): for each pixel of the result the one it is
    taken from, there and back; arrives and returns (B, 1, 1, H, W): whether that one is in the
    picture.
    """

    background: Tensor
    flipped: Tensor  # (B,) bool
    sources: Tensor
    arrives: Tensor
    targets: Tensor
    returns: Tensor

    @classmethod
    def of(cls, background: Tensor, flipped: Tensor, down: Tensor, right: Tensor) -> "Warp":
        """Flip where `flipped` (B,), then shift by `down` (B,) and `right` (B, H), in pixels.

        `right` goes by the row of the result.
        """
        H, W = background.shape[-2:]
        rows = torch.arange(H, device=background.device)[:, None]
        columns = torch.arange(W, device=background.device)
        flip = flipped[:, None, None]
        down = down[:, None, None]

        before = columns - right[:, :, None]  # (B, H, W)
        source = (rows - down).expand_as(before), torch.where(flip, W - 1 - before, before)

        below = (rows + down).expand_as(before)
        by = right.gather(1, below[:, :, 0].clamp(0, H - 1))[:, :, None]
        target = below, torch.where(flip, W - 1 - columns, columns) + by
        return cls(background, flipped, *_flat_index(*source, H, W), *_flat_index(*target, H, W))

    def to(self, device: torch.device) -> "Warp":
        """Return the warp on a device."""
        return Warp(*(getattr(self, field).to(device) for field in self.__dataclass_fields__))

    def frames(self, frames: Tensor) -> Tensor:
        """Warp the foreground: (B, T, C, H, W) → the same, in [0, 1]."""
        warped = self._compose(frames, self.sources)
        return torch.where(self.arrives, warped, self.background).clamp_(0, 1)

    def back(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Undo `frames`; the second result (B, 1, 1, H, W) tells where there is something to undo.

        What has left the picture does not come back, and stays unknown there.
        """
        return self._compose(frames, self.targets).clamp_(0, 1), self.returns

    def conditions(self, pictures: Tensor, blank: float = 1.0) -> Tensor:
        """Warp pictures on a blank ground, (B, T, C, H, W); colors stay as they are."""
        return _take(pictures, self.sources).masked_fill(~self.arrives, blank)

    def _compose(self, frames: Tensor, sources: Tensor) -> Tensor:
        difference = (frames - self.background).abs().amax(dim=2, keepdim=True)
        opacity = _take((difference / OPAQUE).clamp_(max=1), sources)  # (B, T, 1, H, W)
        behind = _take(self.background.expand(len(frames), 1, -1, -1, -1), sources)
        return _take(frames, sources) + (1 - opacity) * (self.background - behind)


def _flat_index(rows: Tensor, columns: Tensor, H: int, W: int) -> tuple[Tensor, Tensor]:
    inside = (rows >= 0) & (rows < H) & (columns >= 0) & (columns < W)
    index = rows.clamp(0, H - 1) * W + columns.clamp(0, W - 1)
    return index.flatten(1), inside[:, None, None]


def _take(pictures: Tensor, index: Tensor) -> Tensor:
    """Take the pixels (B, T, C, H, W) at `index` (B, H·W), each window at its own."""
    flat = pictures.flatten(3)
    return flat.gather(3, index[:, None, None].expand_as(flat)).view(pictures.shape)


def median_background(frames: np.ndarray, conditions: np.ndarray) -> np.ndarray:
    """Return (N, H, W, C) uint8 frames as they are where nobody stands, (H, W, C).

    The median over the frames whose condition, rendered on white, is blank around a pixel; over
    all frames where there is none.
    """
    near = _near(conditions)
    background = np.empty(frames.shape[1:], np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # all-NaN: nobody ever left that pixel
        for y in range(len(background)):  # by row, which bounds the memory
            row = frames[:, y].astype(np.float32)
            row[near[:, y]] = np.nan
            background[y] = np.nanmedian(row, axis=0)
    unseen = np.isnan(background)
    background[unseen] = np.median(frames[:, unseen], axis=0)
    return background


def _near(conditions: np.ndarray) -> np.ndarray:
    """Tell where something is rendered within REACH: (N, H, W, C) uint8 → (N, H, W) bool."""
    H, W = conditions.shape[1:3]
    cell = max(1, H // 32)  # of a large frame, by squares of so many pixels
    near = np.empty(conditions.shape[:3], bool)
    for some in np.array_split(np.arange(len(near)), -(-near.size // TOGETHER)):
        rendered = torch.from_numpy((conditions[some] < 235).any(axis=-1))[:, None].float()
        rendered = max_pool2d(rendered, cell, ceil_mode=True)
        rendered = max_pool2d(rendered, 2 * REACH + 1, stride=1, padding=REACH)[:, 0].bool()
        near[some] = rendered.numpy().repeat(cell, axis=1).repeat(cell, axis=2)[:, :H, :W]
    return near
