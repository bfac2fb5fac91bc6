"""Clips to look at: a GIF always, and with `--video mp4` an MP4 beside it."""

from pathlib import Path

import imageio.v3 as imageio
from torch import Tensor

from core.errors import UserError
from core.files import atomic_write
from engine.output.pictures import FRAME_MILLISECONDS, view_scale, write_gif


def check_video(video: str) -> None:
    """Raise UserError where the library that writes `--video` is not installed."""
    if video == "mp4":
        try:
            import av  # noqa: F401
        except ImportError:
            raise UserError("--video mp4: pip install av, or leave the flag out") from None


def write_video(
    path: Path,
    frames: Tensor,
    *,
    video: str = "gif",
    scale: int = 1,
    milliseconds: int = FRAME_MILLISECONDS,
) -> None:
    """Write (T, 3, H, W) uint8 as a GIF at `path`, and as an MP4 beside it where asked for.

    Where it is not, an MP4 of an earlier prediction is removed: two files of one name show the
    same.
    """
    write_gif(path, frames, scale, milliseconds)
    mp4 = path.with_suffix(".mp4")
    if video == "mp4":
        write_mp4(mp4, frames, scale, milliseconds)
    else:
        mp4.unlink(missing_ok=True)


def write_mp4(
    path: Path, frames: Tensor, scale: int = 1, milliseconds: int = FRAME_MILLISECONDS
) -> None:
    """Write (T, 3, H, W) uint8 as H.264, 50 frames a second at 20 ms each.

    Enlarged by `scale`, but by an even number and small frames by 4 at least: the color of a pixel
    is stored at half the resolution (yuv420p, which every player shows), and a block that shows one
    pixel of ours keeps its own. Raises UserError where PyAV is not installed.
    """
    check_video("mp4")
    scale = max(scale + scale % 2, view_scale(frames), 2)
    pixels = frames.permute(0, 2, 3, 1).numpy()  # (T, H, W, 3)
    encoded = imageio.imwrite(
        "<bytes>",
        pixels.repeat(scale, axis=1).repeat(scale, axis=2),
        extension=".mp4",
        plugin="pyav",
        codec="libx264",
        fps=1000 / milliseconds,
        out_pixel_format="yuv420p",
    )
    with atomic_write(path) as file:
        file.write(encoded)
