"""Windows that were never filmed: the person mirrored, moved and leaned before a room that stays.

A frame is taken for a still room and what stands before it. A pixel is as opaque as it differs
from the room; what is opaque keeps its color where it goes, what is not takes the color of the
room there, and keeps its difference, such as a shadow. Rows move as a whole and by whole pixels,
so nothing is blurred, and frames and conditions move alike.
"""

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

OPAQUE = 0.25  # difference from the room, of 1, from which a pixel shows none of it
REACH = 6  # pixels around a drawn condition in which the person is to be expected


@dataclass(frozen=True)
class Warp:
    """Where the pixels of B windows go: mirrored or not, then row by row.

    room (C, H, W); sources and targets (B, H·W): for each pixel of the result the one it is taken
    from, there and back; arrives and returns (B, 1, 1, H, W): whether that one is in the picture.
    """

    room: Tensor
    mirrored: Tensor  # (B,) bool
    sources: Tensor
    arrives: Tensor
    targets: Tensor
    returns: Tensor

    @classmethod
    def of(cls, room: Tensor, mirrored: Tensor, down: Tensor, right: Tensor) -> "Warp":
        """Mirror where `mirrored` (B,), then move by `down` (B,) and `right` (B, H), in pixels.

        `right` goes by the row of the result.
        """
        H, W = room.shape[-2:]
        rows = torch.arange(H, device=room.device)[:, None]
        columns = torch.arange(W, device=room.device)
        flip = mirrored[:, None, None]
        down = down[:, None, None]

        before = columns - right[:, :, None]  # (B, H, W)
        source = (rows - down).expand_as(before), torch.where(flip, W - 1 - before, before)

        below = (rows + down).expand_as(before)
        by = right.gather(1, below[:, :, 0].clamp(0, H - 1))[:, :, None]
        target = below, torch.where(flip, W - 1 - columns, columns) + by
        return cls(room, mirrored, *_places(*source, H, W), *_places(*target, H, W))

    def to(self, device: torch.device) -> "Warp":
        """Return the move on a device."""
        return Warp(*(getattr(self, field).to(device) for field in self.__dataclass_fields__))

    def frames(self, frames: Tensor) -> Tensor:
        """Warp what stands before the room: (B, T, C, H, W) → the same, in [0, 1]."""
        moved = self._compose(frames, self.sources)
        return torch.where(self.arrives, moved, self.room).clamp_(0, 1)

    def back(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Undo `frames`; the second result (B, 1, 1, H, W) tells where there is something to undo.

        What has left the picture does not come back, and stays unknown there.
        """
        return self._compose(frames, self.targets).clamp_(0, 1), self.returns

    def conditions(self, pictures: Tensor, blank: float = 1.0) -> Tensor:
        """Warp pictures on a blank ground, (B, T, C, H, W); colors stay as they are."""
        return _take(pictures, self.sources).masked_fill(~self.arrives, blank)

    def _compose(self, frames: Tensor, sources: Tensor) -> Tensor:
        difference = (frames - self.room).abs().amax(dim=2, keepdim=True)
        opacity = _take((difference / OPAQUE).clamp_(max=1), sources)  # (B, T, 1, H, W)
        before = _take(self.room.expand(len(frames), 1, -1, -1, -1), sources)
        return _take(frames, sources) + (1 - opacity) * (self.room - before)


def _places(rows: Tensor, columns: Tensor, H: int, W: int) -> tuple[Tensor, Tensor]:
    inside = (rows >= 0) & (rows < H) & (columns >= 0) & (columns < W)
    places = rows.clamp(0, H - 1) * W + columns.clamp(0, W - 1)
    return places.flatten(1), inside[:, None, None]


def _take(pictures: Tensor, places: Tensor) -> Tensor:
    """Take the pixels (B, T, C, H, W) at `places` (B, H·W), each window at its own."""
    flat = pictures.flatten(3)
    return flat.gather(3, places[:, None, None].expand_as(flat)).view(pictures.shape)


def median_background(frames: np.ndarray, conditions: np.ndarray) -> np.ndarray:
    """Return the room of (N, H, W, C) uint8 frames as they are where nobody stands, (H, W, C).

    The median over the frames whose condition, drawn on white, is blank around a pixel; over all
    frames where there is none.
    """
    drawn = torch.from_numpy((conditions < 235).any(axis=-1))[:, None].float()
    near = max_pool2d(drawn, 2 * REACH + 1, stride=1, padding=REACH)[:, 0].bool().numpy()
    room = np.empty(frames.shape[1:], np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # all-NaN: nobody ever left that pixel
        for y in range(len(room)):  # by row, which bounds the memory
            row = frames[:, y].astype(np.float32)
            row[near[:, y]] = np.nan
            room[y] = np.nanmedian(row, axis=0)
    return np.where(np.isnan(room), np.median(frames, axis=0), room).astype(np.float32)
