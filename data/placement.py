"""Decoded frames on their way to a model: onto the device, and from there into batches."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from core import distributed
from core.transfer import send
from data.store.images import open_image
from data.store.picture_files import PictureFiles, Pictures
from data.store.shards import Shards
from data.types import to_float


def frames_of(pictures: Pictures, settings) -> np.ndarray | Shards:
    """Return pictures as (N, H, W, 3) uint8, in the size and through the cache of the settings."""
    return frames_in(pictures, settings.frame_H, settings.frame_W, settings)


def frames_in(pictures: Pictures, height: int, width: int, settings) -> np.ndarray | Shards:
    """Return pictures as (N, height, width, 3) uint8, through the cache of the settings."""
    cache_dir = Path(settings.cache_dir) if settings.cache_dir else None
    return pictures.frames(height, width, cache_dir=cache_dir, num_workers=settings.num_workers)


def larger_by(pictures: Pictures, settings) -> int:
    """Return how many times larger than the frames trained on they can be had: 1 or 2.

    Of prepared pictures there is one size.
    """
    if not isinstance(pictures, PictureFiles) or len(pictures) == 0:
        return 1
    image = open_image(pictures.paths[0])
    enough = image.width >= 2 * settings.frame_W and image.height >= 2 * settings.frame_H
    return 2 if enough else 1


def as_frames(pixels: np.ndarray | Shards) -> Tensor | Shards:
    """Return decoded frames as what is gathered from, on the host, without a copy."""
    return pixels if isinstance(pixels, Shards) else torch.from_numpy(pixels)


def place(arrays: Sequence[Tensor | Shards], device: torch.device) -> list[Tensor | Shards]:
    """Put all arrays on the device where together they take at most a quarter of its free memory.

    All or none of them, and the same in all processes, which must call this at once: windows are
    gathered from every array by one index, and processes exchange what lies where the frames do.
    """
    if device.type != "cuda":
        return list(arrays)
    free, _ = torch.cuda.mem_get_info(device)
    (too_large,) = distributed.all_reduce_max(sum(x.nbytes for x in arrays) > free / 4)
    return list(arrays) if too_large else [x.to(device) for x in arrays]


def gather_windows(frames: Tensor | Shards, index: Tensor, device: torch.device) -> Tensor:
    """(N, H, W, 3) uint8, (T, B) → (B, T, 3, H, W) float in [0, 1], colors last in memory."""
    return to_float(send(frames[index], device)).permute(1, 0, 4, 2, 3)


def as_images(pixels: np.ndarray) -> Tensor:
    """(T, H, W, 3) → (T, 3, H, W) without a copy."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)
