"""Decoded frames on their way to a model: onto the device, and from there into batches."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

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


def place(pixels: np.ndarray | Shards, device: torch.device) -> Tensor | Shards:
    """Put decoded frames on the device where they take at most a quarter of its free memory."""
    frames = pixels if isinstance(pixels, Shards) else torch.from_numpy(pixels)
    if device.type != "cuda":
        return frames
    free, _ = torch.cuda.mem_get_info(device)
    return frames.to(device) if frames.nbytes < free / 4 else frames


def gather_windows(frames: Tensor | Shards, index: Tensor, device: torch.device) -> Tensor:
    """(N, H, W, 3) uint8, (T, B) → (B, T, 3, H, W) float in [0, 1], colors last in memory."""
    pixels = frames[index]
    if device.type == "cuda" and not pixels.is_cuda:
        pixels = pixels.pin_memory()  # the copy then does not stop the host
    return to_float(pixels.to(device, non_blocking=True)).permute(1, 0, 4, 2, 3)


def as_images(pixels: np.ndarray) -> Tensor:
    """(T, H, W, 3) → (T, 3, H, W) without a copy."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)
