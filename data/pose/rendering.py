"""Pose images from joints in the picture: thin lines on white, many images at once on a device.

In the style that a data set's lines have, by a formula that is smooth in the joints: so poses can
be rendered anew in training, and skeletons fitted. `data/pose/picture.py` writes data sets.

Places are in pixels, (0, 0) the upper left corner of the upper left pixel, x before y. Dimensions:
N images, J joints (`data.pose.skeleton.JOINTS`), L limbs (`ALL_LIMBS`), H×W picture.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from core.transfer import send
from data.pose.colors import ALL_LIMBS, COURSE_COLORS
from data.pose.skeleton import JOINT

ENDS = torch.tensor([[JOINT[start], JOINT[end]] for start, end, _ in ALL_LIMBS])  # (L, 2)

JOINT_LIMBS = torch.zeros(len(JOINT), len(ALL_LIMBS))  # 1 where a limb ends in a joint
JOINT_LIMBS[ENDS.T, torch.arange(len(ALL_LIMBS))] = 1


class LineStyle(NamedTuple):
    """How lines look: their width as a share of the picture's height, blur in pixels, colors.

    colors (L, 3) in [0, 1]; below 0 where a limb is several lines side by side.
    """

    width: float
    blur: float
    colors: Tensor


BLUR = 0.43  # pixels: about the standard deviation of the tent that pictures are resized with
DEMO_STYLE = LineStyle(1.25 / 64, BLUR, torch.tensor([color for *_, color in ALL_LIMBS]) / 255)
COURSE_STYLE = LineStyle(
    3 / 512, BLUR, torch.tensor([COURSE_COLORS[end] for _, end, _ in ALL_LIMBS]) / 255
)


def render(places: Tensor, shown: Tensor, height: int, width: int, style: LineStyle) -> Tensor:
    """Render joints (N, J, 2) as pose images (N, 3, H, W) in [0, 1], the limbs `shown` (N, L)."""
    grid = pixel_centers(height, width, places.device).flatten(0, 1)
    ends = places[:, send(ENDS, places.device)]
    line = style.width * height
    images = places.new_ones(len(places), 3, height * width)
    colors = send(style.colors, places.device)[:, :, None]
    for limb in range(len(ENDS)):  # later ones lie over earlier ones
        ink = coverage(grid, ends[:, limb, None], line, style.blur) * shown[:, limb, None]
        images.lerp_(colors[limb].expand_as(images), ink[:, None])
    return images.clamp_(min=0).unflatten(-1, (height, width))


def ends_inside(places: Tensor, height: int, width: int) -> Tensor:
    """Tell which limbs have both joints in the picture: (…, J, 2) → (…, L) bool."""
    x, y = places.unbind(-1)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    return inside[..., send(ENDS, places.device)].all(-1)


def joints_shown(shown: Tensor) -> Tensor:
    """Tell at which joints a limb ends that is shown: (…, L) → (…, J) bool."""
    return shown.float() @ JOINT_LIMBS.T > 0


def limb_centers(places: Tensor, shown: Tensor) -> Tensor:
    """Return the mean of the middles of the limbs shown, of all where none is: (…, J, 2) → (…, 2).

    shown (…, L) bool.
    """
    middles = places[..., send(ENDS, places.device), :].mean(-2)
    shown = (shown | ~shown.any(-1, keepdim=True)).unsqueeze(-1)
    return (middles * shown).sum(-2) / shown.sum(-2)


def pixel_centers(H: int, W: int, device: torch.device) -> Tensor:
    """Return the middle of every pixel, (H, W, 2)."""
    x, y = (torch.arange(size, device=device) + 0.5 for size in (W, H))
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)


def coverage(points: Tensor, ends: Tensor, line: float, blur: float) -> Tensor:
    """How much of each point a line covers: (…, 2) and (…, 2, 2) → (…) in [0, 1].

    The line is a rectangle of `line` pixels' width, blurred by a Gaussian.
    """
    start = ends[..., 0, :]
    along = ends[..., 1, :] - start
    length = along.square().sum(-1).clamp(min=1e-6).sqrt()
    along = along / length[..., None]
    offset = points - start
    t = (offset * along).sum(-1)
    across = offset[..., 0] * along[..., 1] - offset[..., 1] * along[..., 0]
    half = line / 2
    return (step(across + half, blur) - step(across - half, blur)) * (
        step(t, blur) - step(t - length, blur)
    )


def step(distance: Tensor, blur: float) -> Tensor:
    """A step from 0 to 1 at distance 0, blurred by a Gaussian."""
    return 0.5 * torch.erf(distance / (blur * 2**0.5))
