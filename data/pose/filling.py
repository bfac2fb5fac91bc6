"""Pose images from which an estimator has lost limbs for some frames, completed.

What has lost limbs has little ink between frames that have more. There joints are interpolated from
those that are seen in other frames. Dimensions: T frames of a sequence, J joints, L limbs, H×W
picture.
"""

import numpy as np
import torch
from torch import Tensor

from data.pose.fitting import INK, find_style, fit_joints
from data.pose.gaps import fill_gaps
from data.pose.refinement import Skeletons
from data.pose.rendering import ENDS, LineStyle, joints_shown, render

LOST = 0.5  # of the ink before and after: a frame with less has lost many limbs
WHOLE = 0.7  # … and one with more is whole; turned to the side, people lose a quarter
AT_LEAST = 60  # frames over which that is asked: a short gap may be part of a longer one
BORDER = 3 / 64  # of the picture's width: who is as near to the border may have left
UNREAD = 0.5  # residual of a fit that has failed
LEAST_LENGTH = 3 / 64  # of the picture's width: shorter limbs may be bits of others
LEAST_PART = 0.5  # of a limb's median length, below which it is none where limbs are lost


def fill_poses(images: Tensor, longest: int) -> tuple[Tensor, int]:
    """Complete the pose images of a sequence; and return how many of them were completed.

    images: (T, H, W, 3) uint8 on white. Where many limbs are lost for up to `longest` frames, they
    are rendered into what is white; what is seen stays as it is. So do gaps before or after which
    somebody reaches the border of the picture at a side or at the top: they may have left.
    """
    gaps = lost_frames(images, longest)
    if not gaps.any():
        return images, 0
    style = find_style(images)
    joints, lost = _lost_limbs(fit_joints(images, style), gaps, longest, images.shape[1:3])
    some = torch.from_numpy(lost.any(axis=1))
    filled = images.clone()
    places, limbs = torch.from_numpy(joints).float()[some], torch.from_numpy(lost)[some]
    filled[some] = _with_limbs(images[some], places, limbs, style)
    return filled, int(some.sum())


def lost_frames(images: Tensor, longest: int) -> np.ndarray:
    """Return which pose images (T, H, W, 3) lost many limbs that did not leave the picture: (T,)"""
    ink = (255 - images).flatten(1).sum(1).numpy()
    around = _ink_around(ink, max(longest, AT_LEAST))
    lost = np.zeros(len(ink), bool)
    edges = np.flatnonzero(np.diff(ink < WHOLE * around, prepend=False, append=False))
    for first, end in zip(edges[::2], edges[1::2]):
        if end - first <= longest and not _reaches_border(images[[first - 1, end]]):
            lost[first:end] = (ink < LOST * around)[first:end]
    return lost


def _ink_around(ink: np.ndarray, longest: int) -> np.ndarray:
    """Return the ink that both a frame before and one after have, `longest` between them: (T,)."""
    around = np.zeros(len(ink))
    longest = min(longest, len(ink) - 2)
    if longest < 1:
        return around
    for first in range(len(ink) - longest - 1):
        window = slice(first, first + longest + 2)
        before = np.maximum.accumulate(ink[window])
        after = np.maximum.accumulate(ink[window][::-1])[::-1]
        between = slice(first + 1, first + 1 + longest)
        around[between] = np.maximum(around[between], np.minimum(before, after)[1:-1])
    return around


def _reaches_border(images: Tensor) -> bool:
    near = max(1, round(BORDER * images.shape[2]))
    dark = images.amin(dim=-1) < 255 * (1 - INK)
    return bool(dark[:, :near].any() or dark[:, :, :near].any() or dark[:, :, -near:].any())


def _lost_limbs(
    fitted: Skeletons, gaps: np.ndarray, longest: int, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return joints (T, J, 2) with those interpolated, and which limbs to render (T, L)."""
    places, picture = fitted.places.numpy(), np.array(size[::-1])
    whole = ~gaps & (fitted.residual < UNREAD).numpy()
    seen = fitted.shown.numpy() & (whole[:, None] | (gaps[:, None] & _long(fitted, whole, size)))
    at_joints = joints_shown(torch.from_numpy(seen)).numpy()
    joints, _ = fill_gaps(np.where(at_joints[..., None], places, np.nan), longest)
    with np.errstate(invalid="ignore"):
        inside = ((joints >= 0) & (joints < picture)).all(axis=-1)  # (T, J), False where not known
    known, _ = fill_gaps(np.where(seen[..., None], 0.0, np.nan), longest)
    between = np.isfinite(known[..., 0]) & ~seen
    return np.nan_to_num(joints), gaps[:, None] & between & inside[:, ENDS].all(axis=-1)


def _long(fitted: Skeletons, whole: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return which limbs (T, L) are too long to be bits of others, to whose ink the fit sees them.

    Where limbs are lost the fit looks for those of a color in the ink of the few that are left.
    """
    start, end = fitted.places[:, ENDS].unbind(2)
    lengths = (end - start).norm(dim=-1).numpy()
    elsewhere = np.ma.array(lengths, mask=~(fitted.shown.numpy() & whole[:, None]))
    usual = np.ma.median(elsewhere, axis=0).filled(0)  # (L,)
    return (usual > LEAST_LENGTH * size[1]) & (lengths > LEAST_PART * usual)


def _with_limbs(images: Tensor, places: Tensor, limbs: Tensor, style: LineStyle) -> Tensor:
    """Render limbs into what is white in images (N, H, W, 3)."""
    rendered = render(places, limbs, *images.shape[1:3], style)
    rendered = (255 * rendered).round().byte().permute(0, 2, 3, 1)
    white = images.amin(dim=-1, keepdim=True) >= 255 * (1 - INK)
    return torch.where(white, rendered, images)
