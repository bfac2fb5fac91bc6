"""Samples to look at (docs/robot.md): clips with colored borders, and the best one in steps."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from engine.evaluation.sampling import Sampled
from engine.output.pictures import side_by_side, write_strip
from engine.output.video import write_video

GIVEN, PREDICTED = (0, 200, 0), (230, 0, 0)  # colors of the border: green and red
BORDER = 3  # pixels
TITLE_HEIGHT = 12  # pixels
MILLISECONDS = 200  # of a frame
SCALE = 3


def write_samples(path: Path, sampled: Sampled, *, video: str = "gif") -> None:
    """Write truth, posterior (oracle), best and random samples side by side, under their names.

    True frames and context frames have a green border, predicted ones a red one.
    """
    clip = sampled.clip
    columns = [("truth", clip.frames, len(clip))]
    columns += [(name, frames, clip.n_past) for name, frames in sampled.shown.items()]
    framed = [titled(bordered(frames, given), name) for name, frames, given in columns]
    joined = side_by_side(*framed)
    write_video(path, joined, video=video, scale=SCALE, milliseconds=MILLISECONDS)


def write_steps(path: Path, sampled: Sampled) -> None:
    """Write the best sample step by step above the true frames (PNG)."""
    clip = sampled.clip
    rows = (bordered(sampled.shown["best"], clip.n_past), bordered(clip.frames, len(clip)))
    write_strip(path, *rows, frames=len(clip), scale=2)


def bordered(frames: Tensor, given: int) -> Tensor:
    """Put a border round (T, 3, H, W) uint8, green on the first `given` frames, red on the rest."""
    T, C, H, W = frames.shape
    colors = torch.tensor([GIVEN] * given + [PREDICTED] * (T - given), dtype=torch.uint8)
    whole = colors[:, :, None, None].expand(T, C, H + 2 * BORDER, W + 2 * BORDER).clone()
    whole[:, :, BORDER:-BORDER, BORDER:-BORDER] = frames
    return whole


def titled(frames: Tensor, title: str) -> Tensor:
    """Put a line of text above (T, 3, H, W) uint8."""
    bar = Image.new("RGB", (frames.shape[3], TITLE_HEIGHT), "white")
    ImageDraw.Draw(bar).text((frames.shape[3] / 2, 0), title, fill="black", anchor="ma")
    text = torch.from_numpy(np.array(bar)).permute(2, 0, 1)
    return torch.cat([text.expand(len(frames), -1, -1, -1), frames], dim=2)


def write_pictures(folder: Path, sampled: Sequence[Sampled], *, video: str = "gif") -> None:
    """Write samples and steps of every clip; `video` as in `write_video`."""
    for one in sampled:
        write_samples(folder / f"samples_seq_{one.clip.name}.gif", one, video=video)
        write_steps(folder / f"strip_seq_{one.clip.name}.png", one)
