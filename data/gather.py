"""Decoded frames on their way to the device."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from data.store.cache import decoded_frames
from data.store.prepared import PreparedPictures
from data.store.shards import Shards
from data.types import to_float


def decode(settings, paths: Sequence[Path]) -> np.ndarray | Shards:
    """Return (frames, H, W, 3) uint8, prepared or through the cache."""
    if isinstance(paths, PreparedPictures):
        return paths.frames(settings.frame_H, settings.frame_W)
    return decoded_frames(
        paths,
        settings.frame_H,
        settings.frame_W,
        Path(settings.cache_dir) if settings.cache_dir else None,
        settings.num_workers,
    )


def place(pixels: np.ndarray | Shards, device: torch.device) -> Tensor | Shards:
    """Put decoded frames on the device where they take at most a quarter of its free memory."""
    frames = pixels if isinstance(pixels, Shards) else torch.from_numpy(pixels)
    if device.type != "cuda":
        return frames
    free, _ = torch.cuda.mem_get_info(device)
    return frames.to(device) if frames.nbytes < free / 4 else frames


def gather(frames: Tensor | Shards, index: Tensor, device: torch.device) -> Tensor:
    """(N, H, W, 3) uint8, (T, B) → (B, T, 3, H, W) float in [0, 1], colors last in memory."""
    pixels = frames[index]
    if device.type == "cuda" and not pixels.is_cuda:
        pixels = pixels.pin_memory()  # the copy then does not stop the host
    return to_float(pixels.to(device, non_blocking=True)).permute(1, 0, 4, 2, 3)


def as_images(pixels: np.ndarray) -> Tensor:
    """(T, H, W, 3) → (T, 3, H, W) without a copy."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)
