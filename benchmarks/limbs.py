"""Pose images as they are where an estimator has lost limbs; limbs are told apart by color.

In the lab's pose images of people near the camera what is left is mostly the hips with the thighs,
or nothing.
"""

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from data.pose.sides import LEGS, RIGHT_ARM, hues

KINDS = ("all but the hips", "all but one side", "all")
FAINT = 12 / 255  # difference from white, of 1, below which a pixel belongs to no limb
THIGHS = ((-14.0, 14.0), (147.0, 174.0))  # hues in degrees, left and right (`data.pose.sides`)
HIP_REACH = 2  # pixels around the thighs in which the hips lie
TRUNK = (225.0, 270.0)  # hues of trunk and hips


def without(poses: Tensor, lost: str) -> Tensor:
    """Return pose images (T, 3, H, W) uint8 without the limbs that are lost, one of `KINDS`.

    The side that is left is the body's right.
    """
    if lost == "all":
        return torch.full_like(poses, 255)
    colors = poses.float() / 255
    hue, _, _ = hues(colors)
    drawn = (1 - colors.amin(dim=1)) > FAINT
    if lost == "all but one side":
        kept = _within(hue, (sum(LEGS) / 2, LEGS[1]), RIGHT_ARM)
    else:
        thighs = drawn & _within(hue, *THIGHS)
        near = max_pool2d(thighs[:, None].float(), 2 * HIP_REACH + 1, 1, HIP_REACH)[:, 0] > 0
        kept = thighs | (near & _within(hue, TRUNK))
    return poses.masked_fill(~(kept & drawn)[:, None], 255)


def _within(hue: Tensor, *ranges: tuple[float, float]) -> Tensor:
    return torch.stack([(hue >= low) & (hue < high) for low, high in ranges]).any(dim=0)
