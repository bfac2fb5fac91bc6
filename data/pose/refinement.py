"""Joints moved until the lines rendered between them are the ink of pose images.

Damped Gauss-Newton on the pixels near each limb. Dimensions: N images, P pixels with ink or beside
it, J joints, L limbs, M pixels near a limb.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from data.pose.rendering import ENDS, LineStyle, step
from data.pose.skeleton import JOINTS

NEAR_PIXELS = 32  # of a limb; those of 10 pixels' length, and what is beside them
STEPS, RENEW = 12, 4  # of Gauss-Newton; steps after which the pixels near a limb are renewed
DAMPING, LONGEST_STEP = 0.02, 0.7  # pixels
DISTANT = 1e6


class Skeletons(NamedTuple):
    """Joints in pictures."""

    places: Tensor  # (N, J, 2) pixels; what no limb shows lies where it was guessed
    shown: Tensor  # (N, L) bool
    residual: Tensor  # (N,) share of the ink that the limbs do not explain


class Pixels(NamedTuple):
    """The pixels of N images that a fit looks at."""

    points: Tensor  # (N, P, 2)
    colors: Tensor  # (N, P, 3) in [0, 1]
    valid: Tensor  # (N, P) float, 0 for padding
    ink: Tensor  # (N, P), 1 - color, its length


def refine(
    places: Tensor, shown: Tensor, pixels: Pixels, style: LineStyle, height: int, width: int
) -> Skeletons:
    """Move joints until the rendered lines are the pixels (damped Gauss-Newton)."""
    full = 1 - style.colors
    strength = full.norm(dim=-1)
    line = style.width * height
    size = places.new_tensor([width, height])
    farthest = 1.25 * size
    for number in range(STEPS):
        if number % RENEW == 0:
            near = _nearest_pixels(places, pixels)  # (N, L, M)
            points, weights = _taken(pixels.points, near), _taken(pixels.valid[..., None], near)
            weights = weights[..., 0] * shown[..., None]
        ink, by_start, by_end = _ink(points, places[:, ENDS], line, style.blur)
        error = 1 - pixels.colors - _all_ink(ink * weights, near, full, pixels)
        error = (_taken(error, near) @ (full / strength[:, None])[..., None])[..., 0]  # (N, L, M)
        slopes = torch.cat([by_start, by_end], dim=-1) * (strength[:, None] * weights)[..., None]
        A = slopes.transpose(-1, -2) @ slopes  # (N, L, 4, 4)
        b = slopes.transpose(-1, -2) @ error[..., None]
        moved = _solve(A, b[..., 0], DAMPING)
        places = places + moved.clamp(-LONGEST_STEP, LONGEST_STEP)
        places = places.minimum(farthest).maximum(farthest - 1.5 * size)
    near = _nearest_pixels(places, pixels)
    ink, *_ = _ink(_taken(pixels.points, near), places[:, ENDS], line, style.blur)
    error = 1 - pixels.colors - _all_ink(ink * shown[..., None], near, full, pixels)
    unexplained = (error.square().sum(-1) * pixels.valid).sum(1)
    residual = unexplained / pixels.ink.square().sum(1).clamp(min=1e-3)
    return Skeletons(places, shown, residual)


def _nearest_pixels(places: Tensor, pixels: Pixels) -> Tensor:
    """Return the numbers of the pixels nearest to each limb: (N, L, M)."""
    _, squared = _nearest_on(pixels.points[:, None], places[:, ENDS][:, :, None])  # (N, L, P)
    squared += DISTANT * (1 - pixels.valid[:, None])
    M = min(NEAR_PIXELS, squared.shape[-1])
    return squared.topk(M, dim=-1, largest=False, sorted=False).indices


def _nearest_on(points: Tensor, ends: Tensor) -> tuple[Tensor, Tensor]:
    """Share of the way along a limb of the nearest place on it, and the squared distance."""
    along = ends[..., 1, :] - ends[..., 0, :]
    offset = points - ends[..., 0, :]
    t = (offset * along).sum(-1) / along.square().sum(-1).clamp(min=1e-6)
    t = t.clamp(0, 1)
    return t, (offset - t[..., None] * along).square().sum(-1)


def _taken(values: Tensor, near: Tensor) -> Tensor:
    """(N, P, C) at (N, L, M) → (N, L, M, C)."""
    N, L, M = near.shape
    index = near.flatten(1)[..., None].expand(-1, -1, values.shape[-1])
    return values.gather(1, index).view(N, L, M, -1)


def _ink(points: Tensor, ends: Tensor, line: float, blur: float) -> tuple[Tensor, Tensor, Tensor]:
    """`coverage` of (N, L, M, 2) by (N, L, 2, 2), and its derivatives by both ends."""
    start = ends[..., 0, :]
    along = ends[..., 1, :] - start
    length = along.square().sum(-1).clamp(min=1e-4).sqrt()
    along = (along / length[..., None])[..., None, :]
    normal = torch.stack([along[..., 1], -along[..., 0]], dim=-1)
    offset = points - start[..., None, :]
    x, y = (offset * along).sum(-1), (offset * normal).sum(-1)
    half, length = line / 2, length[..., None]
    X = step(x, blur) - step(x - length, blur)
    Y = step(y + half, blur) - step(y - half, blur)
    Y_slope = _bump(y + half, blur) - _bump(y - half, blur)
    share = (x / length).clamp(0, 1)
    by_start = -(X * Y_slope * (1 - share))[..., None] * normal
    by_start = by_start - (Y * _bump(x, blur))[..., None] * along
    by_end = -(X * Y_slope * share)[..., None] * normal
    by_end = by_end + (Y * _bump(x - length, blur))[..., None] * along
    return X * Y, by_start, by_end


def _bump(distance: Tensor, blur: float) -> Tensor:
    """The derivative of `step`."""
    return torch.exp(-0.5 * (distance / blur) ** 2) * (0.3989 / blur)


def _all_ink(ink: Tensor, near: Tensor, full: Tensor, pixels: Pixels) -> Tensor:
    """Add up what the limbs (N, L, M) leave in the pixels: (N, P, 3)."""
    colored = ink[..., None] * full[:, None]  # (N, L, M, 3)
    index = near.flatten(1)[..., None].expand(-1, -1, 3)
    return torch.zeros_like(pixels.colors).scatter_add_(1, index, colored.flatten(1, 2))


def _solve(A: Tensor, b: Tensor, damping: float) -> Tensor:
    """Solve for the joints (N, J, 2) from the equations of the limbs (N, L, 4, 4), (N, L, 4)."""
    N, J = len(A), len(JOINTS)
    whole, right = A.new_zeros(N, J, 2, J, 2), A.new_zeros(N, J, 2)
    for limb, ends in enumerate(ENDS.tolist()):
        for i, one in enumerate(ends):
            right[:, one] += b[:, limb, 2 * i : 2 * i + 2]
            for j, other in enumerate(ends):
                block = A[:, limb, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
                whole[:, one, :, other] += block
    whole = whole.view(N, 2 * J, 2 * J)
    whole.diagonal(dim1=1, dim2=2).add_(damping)
    solved = torch.cholesky_solve(right.view(N, -1, 1), torch.linalg.cholesky(whole))
    return solved.view(N, J, 2)
