"""People nearer or farther than any that were filmed: the foreground scaled before the background.

A scaled person is taken from larger pictures of the same frames where there are any, and so stays
sharp. Dimensions: n frames, C colors, h×w source, H×W result, J joints.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, grid_sample, max_pool2d

from core.transfer import send
from data.warp import OPAQUE

SHARPEN = 0.5  # at twice the size or more, of the difference from the surroundings


class Zoom(NamedTuple):
    """Scale by `scale` (n,) about `center` (n, 2).

    It is in shares of the picture, x before y, so that it holds for pictures of any size.
    """

    scale: Tensor
    center: Tensor

    def to(self, device: torch.device) -> "Zoom":
        """Return the zoom on a device."""
        return Zoom(*(send(value, device) for value in self))

    def places(self, places: Tensor, size: tuple[int, int]) -> Tensor:
        """Scale joints (n, J, 2), in pixels of a picture of `size` (H, W)."""
        H, W = size
        center = self.center[:, None] * places.new_tensor([W, H])
        return center + self.scale[:, None, None] * (places - center)

    def frames(self, frames: Tensor, background: Tensor, behind: Tensor | None = None) -> Tensor:
        """Scale the foreground: (n, C, h, w) before `background` (C, H, W) → (n, C, H, W).

        behind (C, h, w): the background in the size of the frames, a multiple of the result's, if
        that is another.
        """
        C, h, w = frames.shape[1:]
        H = background.shape[-2]
        difference = frames - (background if behind is None else behind)
        opacity = (difference.abs().amax(dim=1, keepdim=True) / OPAQUE).clamp_(max=1)
        # What is opaque brings its color, what is not its difference, such as a shadow.
        shadow = (1 - opacity) * difference * _near(opacity, h // 4)
        layers = torch.cat([opacity * frames, opacity, shadow], dim=1)
        layers = grid_sample(layers, self._grid(h, w), mode="bicubic", align_corners=False)
        solid, shadow = layers[:, : C + 1], layers[:, C + 1 :]
        if h == H:
            solid = solid + self._amount() * (solid - _smoothed(solid, 3))
        else:  # as the frames were resized
            solid, shadow = (avg_pool2d(layer, h // H) for layer in (solid, shadow))
        opacity = solid[:, C:].clamp(0, 1)
        brought = solid[:, :C].clamp(min=0).minimum(opacity) + shadow
        return (brought + (1 - opacity) * background).clamp_(0, 1)

    def _amount(self) -> Tensor:
        """How much is sharpened what was not filmed in that size: (n, 1, 1, 1)."""
        return (SHARPEN * (self.scale - 1)).clamp(0, SHARPEN)[:, None, None, None]

    def _grid(self, h: int, w: int) -> Tensor:
        """Where each pixel of the result is taken from: (n, h, w, 2) in [-1, 1]."""
        x = (torch.arange(w, device=self.scale.device) + 0.5) / w
        y = (torch.arange(h, device=self.scale.device) + 0.5) / h
        points = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)  # (h, w, 2)
        center = self.center[:, None, None]
        return 2 * (center + (points - center) / self.scale[:, None, None, None]) - 1


def _near(opacity: Tensor, reach: int) -> Tensor:
    """1 near the person, 0 farther than about `reach` pixels: (n, 1, h, w)."""
    half = reach // 2
    side, pad = 4 * half + 1, 2 * half
    near = max_pool2d(opacity, (side, 1), stride=1, padding=(pad, 0))
    near = max_pool2d(near, (1, side), stride=1, padding=(0, pad))
    near = _smoothed(near, 2 * half + 1)
    width = opacity.shape[-1]
    aside = (torch.arange(width, device=opacity.device) + 0.5).minimum(
        width - 0.5 - torch.arange(width, device=opacity.device)
    )
    fade = (aside / reach).clamp(max=1)  # where the picture ends, so does what is known of a shadow
    return near * fade


def _smoothed(pictures: Tensor, side: int) -> Tensor:
    """The mean over a square of `side` pixels; at the border, of those that there are."""
    rows, columns = ((side, 1), (side // 2, 0)), ((1, side), (0, side // 2))
    for window, padding in (rows, columns):  # one after the other: quicker
        pictures = avg_pool2d(pictures, window, 1, padding, count_include_pad=False)
    return pictures
