"""GIFs and pictures side by side."""

import imageio.v3 as iio
import numpy as np
import pytest
import torch
from PIL import Image

from engine.output.pictures import side_by_side, view_scale, write_gif, write_strip
from tests.support.clips import flat_clip, random_clip


def gif_frames(path):
    """Pictures (…, H, W, 3) and their durations in milliseconds."""
    with Image.open(path) as gif:
        pictures, durations = [], []
        for index in range(gif.n_frames):
            gif.seek(index)
            pictures.append(np.asarray(gif.convert("RGB")))
            durations.append(gif.info["duration"])
        return np.array(pictures), durations


def test_gif_shows_every_frame_for_20_milliseconds(tmp_path):
    write_gif(tmp_path / "a.gif", flat_clip(0, 60, 120, 180, 240))
    pictures, durations = gif_frames(tmp_path / "a.gif")
    assert durations == [20] * 5
    assert pictures[:, 0, 0, 0].tolist() == [0, 60, 120, 180, 240]  # the first is not doubled


@pytest.mark.parametrize(
    "levels", [(0, 0, 0, 90, 90, 200), (50, 200, 200, 50, 50), (7, 7), (7, 200, 7, 7, 7, 200)]
)
def test_gif_with_identical_neighbors_lasts_as_long(tmp_path, levels):
    write_gif(tmp_path / "a.gif", flat_clip(*levels))
    pictures, durations = gif_frames(tmp_path / "a.gif")
    assert sum(durations) == 20 * len(levels)
    shown = [
        level
        for level, duration in zip(pictures[:, 0, 0, 0].tolist(), durations)
        for _ in range(duration // 20)
    ]
    assert shown == list(levels)


def test_gif_loops_and_is_enlarged_by_whole_pixels(tmp_path):
    clip = flat_clip(10, 240).clone()
    clip[:, :, 0, 0] = 120
    write_gif(tmp_path / "a.gif", clip, scale=4)
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.size == (64, 32)
        assert gif.info["loop"] == 0
    pictures, _ = gif_frames(tmp_path / "a.gif")
    assert (pictures[:, :4, :4] == 120).all()
    assert (pictures[0, 4:] == 10).all()
    assert (pictures[0, :4, 4:] == 10).all()


def test_every_picture_of_a_gif_is_a_whole_frame(tmp_path):
    """Pixels that are as before are left out of the file; what is shown is the frame all the same.

    255 colors fit into the palette as they are, so nothing is lost.
    """
    generator = torch.Generator().manual_seed(0)
    colors = torch.randint(0, 256, (255, 3), generator=generator).byte()
    index = torch.randint(0, 255, (6, 16, 16), generator=generator)
    for t in range(1, 6):
        still = torch.rand(16, 16, generator=generator) < 0.7
        index[t][still] = index[t - 1][still]
    clip = colors[index].permute(0, 3, 1, 2)
    write_gif(tmp_path / "a.gif", clip)
    pictures, _ = gif_frames(tmp_path / "a.gif")
    assert np.abs(pictures.astype(int) - clip.permute(0, 2, 3, 1).numpy()).mean() < 1


def test_gif_is_read_by_imageio_too(tmp_path):
    write_gif(tmp_path / "a.gif", flat_clip(0, 60, 240))
    assert iio.imread(tmp_path / "a.gif")[:, 0, 0, 0].tolist() == [0, 60, 240]


def test_side_by_side_joins_along_the_width_with_a_gray_line():
    one, two, three = (random_clip(4, 6, width, seed=width) for width in (5, 7, 2))
    joined = side_by_side(one, two, three)
    assert joined.shape == (4, 3, 6, 5 + 1 + 7 + 1 + 2)
    assert joined.dtype == torch.uint8
    assert torch.equal(joined[..., :5], one)
    assert torch.equal(joined[..., 6:13], two)
    assert torch.equal(joined[..., 14:], three)
    assert (joined[..., [5, 13]] == 128).all()
    assert torch.equal(side_by_side(one), one)


@pytest.mark.parametrize(
    ("height", "width", "scale"), [(32, 64, 4), (64, 64, 4), (128, 256, 1), (256, 512, 1)]
)
def test_large_frames_are_shown_as_large_as_they_are(tmp_path, height, width, scale):
    clip = torch.zeros(2, 3, height, width, dtype=torch.uint8)
    assert view_scale(clip) == scale
    write_strip(tmp_path / "strip.png", clip, frames=2)
    with Image.open(tmp_path / "strip.png") as strip:
        assert strip.size == (scale * (2 * width + 1), scale * height)
