"""Files made from rolled-out frames: GIFs to look at, and the submission to hand in."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import torch
from torch import Tensor

from engine.files import replacing

FRAME_MILLISECONDS = 20  # the lab's GIFs
VIEW_SCALE = 4  # enlargement of the GIFs that are made to be looked at


def write_gif(path: Path, frames: Tensor, scale: int = 1) -> None:
    """Write (T, 3, H, W) uint8 as a GIF that shows every frame for 20 ms.

    The writer merges identical neighbours into one picture and adds their times up, so the GIF
    lasts T · 20 ms but may hold fewer pictures. Nothing is ever read back from it.
    """
    pixels = frames.permute(0, 2, 3, 1).numpy()
    pixels = pixels.repeat(scale, axis=1).repeat(scale, axis=2)
    iio.imwrite(path, pixels, extension=".gif", duration=FRAME_MILLISECONDS, loop=0)


def side_by_side(*clips: Tensor) -> Tensor:
    """Join clips of (T, 3, H, W) along the width, with a grey line between them."""
    line = clips[0].new_full((*clips[0].shape[:3], 1), 128)
    return torch.cat([part for clip in clips for part in (line, clip)][1:], dim=3)


def write_submission(path: Path, clips: Sequence[Tensor]) -> None:
    """Write the lab's submission.csv from predicted clips (T, 3, H, W) uint8, in their order.

    Header `id,0,1,…`; a row per frame, frame 0 included, flattened in (C, H, W) order; `id`
    counts on over all clips.
    """
    size = clips[0][0].numel()
    rows = np.concatenate([clip.reshape(len(clip), size).numpy() for clip in clips])
    with replacing(path) as file:
        file.write(f"id,{_join(range(size))}\n".encode())
        for index, row in enumerate(rows):
            file.write(f"{index},{_join(row.tolist())}\n".encode())


def _join(values: Iterable[int]) -> str:
    return ",".join(map(str, values))
