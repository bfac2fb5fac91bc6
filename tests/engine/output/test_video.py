"""MP4s beside the GIFs."""

import os
import sys

import imageio.v3 as iio
import numpy as np
import pytest
import torch

import Tester
from engine.output.video import write_mp4, write_video
from tests.support.clips import flat_clip
from tests.support.hostile import call, rollout_flags


def moving_square(frames, height=32, width=64):
    """A colored square that crosses a gradient: (T, 3, H, W) uint8."""
    clip = torch.linspace(20, 220, width).expand(frames, 3, height, width).clone()
    for t in range(frames):
        clip[t, :, 8:20, t % (width - 12) : t % (width - 12) + 12] = torch.tensor(
            [[[230.0]], [[40.0]], [[90.0]]]
        )
    return clip.byte()


@pytest.mark.parametrize(
    ("scale", "shape", "milliseconds"),
    [(1, (32, 64), 20), (4, (32, 129), 20), (3, (31, 33), 200)],  # odd widths come of joined clips
)
def test_mp4_holds_every_frame_at_its_time(tmp_path, scale, shape, milliseconds):
    pytest.importorskip("av", reason="no PyAV")
    clip = moving_square(75, *shape)
    write_mp4(tmp_path / "a.mp4", clip, scale, milliseconds)
    assert os.listdir(tmp_path) == ["a.mp4"]
    about = iio.immeta(tmp_path / "a.mp4", plugin="pyav")
    assert about["fps"] == 1000 / milliseconds
    assert about["duration"] == pytest.approx(75 * milliseconds / 1000)
    assert about["video_format"] == "yuv420p"
    shown = iio.imread(tmp_path / "a.mp4", plugin="pyav")
    assert shown.shape == (75, 4 * shape[0], 4 * shape[1], 3)
    small = shown.reshape(75, shape[0], 4, shape[1], 4, 3).mean(axis=(2, 4))
    error = ((small - clip.permute(0, 2, 3, 1).numpy()) ** 2).mean(axis=(1, 2, 3))
    assert (10 * np.log10(255**2 / error) > 30).all()


def test_an_mp4_stands_beside_the_gif_where_asked_for_and_never_an_older_one(tmp_path):
    pytest.importorskip("av", reason="no PyAV")
    clip = flat_clip(0, 60, 120)
    write_video(tmp_path / "a.gif", clip, video="mp4")
    assert {path.name for path in tmp_path.iterdir()} == {"a.gif", "a.mp4"}
    write_video(tmp_path / "a.gif", clip)
    assert {path.name for path in tmp_path.iterdir()} == {"a.gif"}


def test_the_tester_writes_mp4s_beside_its_gifs(root, ours, tmp_path):
    pytest.importorskip("av", reason="no PyAV")
    code, said = call(Tester, *rollout_flags(root, ours, "--video", "mp4"))
    assert code == 0, said
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"pred_seq0.gif", "pred_seq0.mp4", "pose_pred_seq0.gif", "pose_pred_seq0.mp4"} <= names
    assert len(iio.imread(tmp_path / "out/pred_seq0.mp4", plugin="pyav")) == 6
    assert call(Tester, *rollout_flags(root, ours))[0] == 0
    assert not list((tmp_path / "out").glob("*.mp4"))


def test_without_the_library_nothing_is_rolled_out(refused, root, ours, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    assert "pip install av" in refused(Tester, *rollout_flags(root, ours, "--video", "mp4"))
    assert call(Tester, *rollout_flags(root, ours))[0] == 0  # GIFs need it not
