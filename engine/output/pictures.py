"""Files made from predicted frames: GIFs and strips to look at, and the submission to hand in."""

from collections.abc import Sequence
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from core.files import atomic_write, warn_on_write_error

FRAME_MILLISECONDS = 20  # of the lab's GIFs (docs/lab.md)
PALETTE_FRAMES = 32  # frames that the palette of a GIF is computed from
VIEW_SCALE = 4  # enlargement of the GIFs that are made to be looked at, of frames up to …
VIEW_WIDTH = 256  # … so wide once enlarged; larger ones are enlarged less, or not at all


def view_scale(frames: Tensor) -> int:
    """By how much frames (T, 3, H, W) are enlarged to be looked at."""
    return max(1, min(VIEW_SCALE, VIEW_WIDTH // frames.shape[-1]))


def write_gif(
    path: Path, frames: Tensor, scale: int = 1, milliseconds: int = FRAME_MILLISECONDS
) -> None:
    """Write a GIF (`encode_gif`), whole or not at all."""
    whole = encode_gif(frames, scale, milliseconds)
    with atomic_write(path) as file:
        file.write(whole)


def write_first_gifs(
    rollouts: dict[str, Sequence[Tensor]], folder: Path, epoch: int | None
) -> dict[str, Path]:
    """Write the GIF of the first rollout, (T, 3, H, W) uint8, of each set of clips.

    One a validation where `epoch` is given. Returns those that are there, as `SET_gif`.
    """
    number = "" if epoch is None else f"_epoch={epoch}"
    gifs = {name: folder / f"{name}{number}.gif" for name in rollouts}
    for name, path in gifs.items():
        with warn_on_write_error(path.name):
            write_gif(path, rollouts[name][0])
    return {f"{name}_gif": path for name, path in gifs.items() if path.exists()}


def encode_gif(frames: Tensor, scale: int = 1, milliseconds: int = FRAME_MILLISECONDS) -> bytes:
    """Encode (T, 3, H, W) uint8 as a GIF, each frame shown for 20 ms, enlarged by `scale`.

    One palette serves all frames. A palette for each would take five times as long and make the
    file three times as large. The writer merges identical neighbors into one picture and adds
    their times up, so the GIF lasts T times as long but may hold fewer pictures. Nothing is ever
    read back from it.
    """
    pixels = frames.permute(0, 2, 3, 1).numpy()  # (T, H, W, 3)
    sample = pixels[np.linspace(0, len(pixels) - 1, PALETTE_FRAMES).astype(int)]
    palette = Image.fromarray(np.concatenate(sample)).quantize(256, dither=Image.Dither.NONE)
    rows = Image.fromarray(np.concatenate(pixels))  # (T·H, W)
    indices = np.asarray(rows.quantize(palette=palette, dither=Image.Dither.NONE))
    indices = indices.reshape(pixels.shape[:3]).repeat(scale, axis=1).repeat(scale, axis=2)
    return imageio.imwrite(
        "<bytes>",
        indices,
        plugin="pillow",
        extension=".gif",
        is_batch=True,
        palette=bytes(palette.getpalette()),
        duration=milliseconds,
        loop=0,
        optimize=True,  # leaves pixels out that are as in the frame before
    )


def side_by_side(*clips: Tensor) -> Tensor:
    """Join clips of (T, 3, H, W) along the width, with a gray line between them."""
    line = clips[0].new_full((*clips[0].shape[:3], 1), 128)
    return torch.cat([part for clip in clips for part in (line, clip)][1:], dim=3)


def write_strip(path: Path, *clips: Tensor, frames: int = 8, scale: int | None = None) -> None:
    """Write a PNG with `frames` moments of some clips (T, 3, H, W), one clip a row, time across."""
    times = np.linspace(0, len(clips[0]) - 1, frames).round().astype(int).tolist()
    rows = [side_by_side(*(clip[t][None] for t in times)) for clip in clips]
    line = rows[0].new_full((1, 3, 1, rows[0].shape[3]), 128)
    sheet = torch.cat([part for row in rows for part in (line, row)][1:], dim=2)[0]
    scale = scale or view_scale(clips[0])
    pixels = sheet.permute(1, 2, 0).numpy().repeat(scale, axis=0).repeat(scale, axis=1)
    with atomic_write(path) as file:
        Image.fromarray(pixels).save(file, format="PNG")


def write_submission(path: Path, clips: Sequence[Tensor]) -> None:
    """Write submission.csv (docs/lab.md) from predicted clips (T, 3, H, W) uint8, in their order.

    Header `id,0,1,…`; a row per frame, frame 0 included, flattened in (C, H, W) order; `id`
    counts on over all clips.
    """
    size = clips[0][0].numel()
    rows = np.concatenate([clip.reshape(len(clip), size).numpy() for clip in clips])
    with atomic_write(path) as file:
        file.write(f"id,{','.join(map(str, range(size)))}\n".encode())
        for index, row in enumerate(rows):
            text = _DIGITS[row][_IS_TEXT[row]]  # all values at once, each with its comma
            file.write(b"%d,%s\n" % (index, text[:-1].tobytes()))


# The text of every byte value, "0," to "255,", padded to four characters, and what is no padding.
_DIGITS = np.array([list(f"{value},".ljust(4).encode()) for value in range(256)], np.uint8)
_IS_TEXT = ord(" ") != _DIGITS
