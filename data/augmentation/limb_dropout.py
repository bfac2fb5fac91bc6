"""Limbs that a pose estimator loses (`--limb_dropout`): which, in which frames, and their ink.

An estimator loses limbs over some frames in a row, so that the frame before shows what the pose
does not. Dimensions: N images, J joints, L limbs, H×W picture.
"""

import numpy as np
import torch
from torch import Tensor

from core.randomness import Stream, numpy_generator
from data.pose.colors import ALL_LIMBS
from data.pose.rendering import ENDS, coverage, pixel_centers
from data.pose.skeleton import HEAD_JOINTS
from data.windows import Recording

SHORTEST, LONGEST = 6, 60  # frames in which limbs are lost
EPOCHS = 4  # for which the same frames lose the same limbs: their predictions follow each other
REACH = 1.0  # pixels: the ink that belongs to a limb lies about so near to its line

_LOWER = ("hip_right", "hip_left", "knee_right", "knee_left", "ankle_right", "ankle_left",
          "toe_right", "toe_left")  # fmt: skip
_NAMES = [end for _, end, _ in ALL_LIMBS]  # a limb is named by the joint at its end


def _kept(*names: str) -> list[bool]:
    return [name in names for name in _NAMES]


def _without(*names: str) -> list[bool]:
    return [name not in names for name in _NAMES]


def _side(side: str) -> tuple[str, ...]:
    return tuple(name for name in _NAMES if name.endswith(side))


# What is left of a pose image, (patterns, L).
PATTERNS = torch.tensor(
    [
        _kept(*_LOWER),
        _kept("hip_right", "hip_left", "knee_right", "knee_left"),
        _kept("hip_right", "hip_left"),
        _kept("hip_right", "hip_left", "knee_left"),
        _kept("hip_right", "hip_left", "knee_right"),
        _kept(*_side("right")),
        _kept(*_side("left")),
        _without(*_side("right")),
        _without(*_side("left")),
        _without("ankle_right", "ankle_left", "toe_right", "toe_left", *HEAD_JOINTS),
        _without(*_LOWER),
        _kept(),
    ]
)
UPPER_LOST = (0, 1, 2, 3, 4)  # patterns of people whose upper half is out of the picture


def period_of(epoch: int) -> int:
    """Return the number of the epochs in which the same limbs are lost."""
    return epoch // EPOCHS


def lost_patterns(recordings: list[Recording], rate: float, seed: int, epoch: int) -> np.ndarray:
    """Say for every frame which of PATTERNS is left of its pose, -1 where all is.

    A part `rate` of the frames of the recordings, in stretches, the same for EPOCHS epochs.
    """
    rng = numpy_generator(seed, Stream.LIMB_DROPOUT, period_of(epoch))
    patterns = np.full(max(end for _, end in recordings), -1)
    mean = (SHORTEST + LONGEST) / 2
    for start, end in recordings:
        at = start
        while True:  # whole stretches between lost ones, on average rate : 1 - rate
            at += int(rng.exponential(mean * (1 - rate) / rate))
            length = int(rng.integers(SHORTEST, LONGEST + 1))
            if at >= end:
                break
            patterns[at : min(at + length, end)] = rng.integers(len(PATTERNS))
            at += length
    return patterns


def erase(images: Tensor, places: Tensor, shown: Tensor, left: Tensor) -> Tensor:
    """Erase limbs from pose images (N, 3, H, W) in [0, 1] with joints (N, J, 2).

    shown (N, L): the limbs there are; left (N, L): those that stay. The ink of a pixel is shared
    out among the limbs near it.
    """
    H, W = images.shape[-2:]
    grid = pixel_centers(H, W, images.device).flatten(0, 1)
    near = coverage(grid, places[:, ENDS][:, :, None], 1.0, REACH) * shown[..., None]  # (N, L, H·W)
    stays = (near * left[..., None]).sum(1) / near.sum(1).clamp(min=1e-4)
    stays = stays.clamp(max=1).view(len(images), 1, H, W)
    return 1 - (1 - images) * stays
