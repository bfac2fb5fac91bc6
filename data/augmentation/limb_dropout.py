"""Limbs that a pose estimator loses (`--limb_dropout`): which, and their ink.

Dimensions: N images, J joints, L limbs, H×W picture.
"""

import torch
from torch import Tensor

from data.pose.colors import ALL_LIMBS
from data.pose.rendering import ENDS, coverage, pixel_centers
from data.pose.skeleton import HEAD_JOINTS

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
