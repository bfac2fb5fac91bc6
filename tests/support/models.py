"""Models as training calls them."""

import torch
from torch import Tensor

from data.types import Batch


def loss_of(
    model: torch.nn.Module, frames: Tensor, conditions: Tensor, **arguments
) -> tuple[Tensor, dict[str, Tensor], Tensor | None]:
    """Return loss, metrics and predictions of windows (B, T, 3, H, W)."""
    return model(Batch(frames, conditions), **arguments)
