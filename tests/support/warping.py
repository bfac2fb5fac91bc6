"""A background, a foreground, and a warp of it."""

import torch

from data.warp import Warp

B, T, H, W = 3, 2, 32, 64


def background_and_frames() -> tuple[torch.Tensor, torch.Tensor]:
    """A background that differs from place to place, and frames with a foreground."""
    generator = torch.Generator().manual_seed(0)
    background = 0.4 + 0.2 * torch.rand(3, H, W, generator=generator)
    frames = background.repeat(B, T, 1, 1, 1)
    frames[:, :, :, 10:20, 20:30] = 0.05  # opaque
    frames[:, :, :, 20:24, 18:34] -= 0.04  # a shadow
    return background, frames


def some_warp(background: torch.Tensor) -> Warp:
    right = torch.stack([torch.full((H,), 7), torch.arange(H) // 4 - 4, torch.zeros(H).long()])
    return Warp.of(background, torch.tensor([True, False, False]), torch.tensor([1, -2, 0]), right)
