"""Files that are handed in or looked at, files replaced whole, and the log of a run."""

import csv
import os
import stat
import sys

import imageio.v3 as iio
import numpy as np
import pytest
import torch
from PIL import Image

import Tester
from core.files import atomic_write
from engine.evaluation.rollout import to_uint8
from engine.output.pictures import side_by_side, write_gif, write_submission
from engine.output.tracker import CsvLog
from engine.output.video import write_mp4, write_video
from tests.support.hostile import call, rollout_flags


def random_clip(frames, height=32, width=64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (frames, 3, height, width), generator=generator).byte()


# ---------------------------------------------------------------------------- submission


def test_submission_has_the_format_of_the_lab(tmp_path):
    clips = [random_clip(3, seed=1), random_clip(2, seed=2)]
    write_submission(tmp_path / "submission.csv", clips)
    lines = (tmp_path / "submission.csv").read_text().splitlines()
    assert lines[0].split(",") == ["id", *map(str, range(6144))]
    assert len(lines) == 1 + 5
    rows = np.array([[int(value) for value in line.split(",")] for line in lines[1:]])
    assert rows[:, 0].tolist() == [0, 1, 2, 3, 4]  # counts on over the sequences
    frames = torch.from_numpy(rows[:, 1:].reshape(5, 3, 32, 64))
    assert torch.equal(frames, torch.cat(clips).long())


def test_submission_is_flattened_color_row_column(tmp_path):
    clip = torch.zeros(1, 3, 32, 64, dtype=torch.uint8)
    clip[0, 1, 5, 7] = 200  # the place is 1·32·64 + 5·64 + 7
    for memory in (clip, clip.contiguous(memory_format=torch.channels_last)):
        write_submission(tmp_path / "submission.csv", [memory])
        header, row = csv.reader((tmp_path / "submission.csv").open(newline=""))
        assert {header[k]: v for k, v in enumerate(row) if v != "0"} == {"2375": "200"}


def test_submission_holds_rint_of_255_x(tmp_path):
    values = torch.tensor([0.0, 0.1, 0.5, 0.9985, 1.0, 0.25])
    write_submission(tmp_path / "s.csv", [to_uint8(values.view(1, 3, 1, 2))])
    row = (tmp_path / "s.csv").read_text().splitlines()[1]
    assert row == "0,0,26,128,255,255,64"


# ---------------------------------------------------------------------------------- GIFs


def gif_frames(path):
    """Pictures (…, H, W, 3) and their durations in milliseconds."""
    with Image.open(path) as gif:
        pictures, durations = [], []
        for index in range(gif.n_frames):
            gif.seek(index)
            pictures.append(np.asarray(gif.convert("RGB")))
            durations.append(gif.info["duration"])
        return np.array(pictures), durations


def flat_clip(*levels):
    return torch.tensor(levels).byte()[:, None, None, None].expand(-1, 3, 8, 16)


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


# ---------------------------------------------------------------------------------- MP4s


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


# ----------------------------------------------------------------------- atomic_write files


def write_half(path, error):
    with atomic_write(path) as file:
        file.write(b"half")
        raise error


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, OSError])
def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "log.csv"
    path.write_text("old")
    with pytest.raises(error):
        write_half(path, error)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["log.csv"]


def test_an_exception_before_there_was_a_file_leaves_none(tmp_path):
    with pytest.raises(ValueError, match="stop"):
        write_half(tmp_path / "new" / "a", ValueError("stop"))
    assert os.listdir(tmp_path / "new") == []


def test_a_file_is_replaced_whole_when_the_block_ends(tmp_path):
    path = tmp_path / "deep" / "er" / "a.bin"
    for content in (b"first", b"2"):
        with atomic_write(path) as file:
            file.write(content)
            if content == b"2":
                assert path.read_bytes() == b"first"
        assert path.read_bytes() == content
        assert os.listdir(path.parent) == ["a.bin"]


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_a_replaced_file_has_the_usual_permissions(tmp_path):
    before = os.umask(0o027)
    try:
        with atomic_write(tmp_path / "a") as file:
            file.write(b"x")
    finally:
        after = os.umask(before)
    assert after == 0o027  # the mask of the process is left as it was
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


# ------------------------------------------------------------------------ the log of a run


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_log_has_a_row_an_epoch(tmp_path):
    log = CsvLog(tmp_path / "metrics.csv", 0)
    for epoch in range(3):
        log.add({"epoch": epoch, "loss": 0.5 / (epoch + 1)})
    text = (tmp_path / "metrics.csv").read_text()
    assert text.splitlines()[0] == "epoch,loss"
    assert [float(row["loss"]) for row in rows_of(log.path)] == [0.5, 0.25, 0.5 / 3]


def test_continuing_drops_the_rows_from_the_first_epoch_on(tmp_path):
    path = tmp_path / "metrics.csv"
    log = CsvLog(path, 0)
    for epoch in range(5):
        log.add({"epoch": epoch, "loss": epoch})
    log = CsvLog(path, 3)
    assert [row["epoch"] for row in rows_of(path)] == ["0", "1", "2"]
    log.add({"epoch": 3, "loss": 33})
    assert [(row["epoch"], row["loss"]) for row in rows_of(path)] == [
        ("0", "0"),
        ("1", "1"),
        ("2", "2"),
        ("3", "33"),
    ]
    CsvLog(path, 0)
    assert rows_of(path) == []


def test_new_columns_extend_the_file_and_missing_ones_stay_empty(tmp_path):
    path = tmp_path / "metrics.csv"
    log = CsvLog(path, 0)
    log.add({"epoch": 0, "loss": 1})
    log.add({"epoch": 1, "psnr": 20, "loss": 2})
    log.add({"loss": 3, "epoch": 2})
    expected = [("0", "1", ""), ("1", "2", "20"), ("2", "3", "")]
    assert [(r["epoch"], r["loss"], r["psnr"]) for r in rows_of(path)] == expected
    log = CsvLog(path, 2)
    log.add({"epoch": 2, "loss": 3, "ssim": 0.5})
    assert path.read_text().splitlines()[0] == "epoch,loss,psnr,ssim"
    assert rows_of(path)[1] == {"epoch": "1", "loss": "2", "psnr": "20", "ssim": ""}
    assert rows_of(path)[2] == {"epoch": "2", "loss": "3", "psnr": "", "ssim": "0.5"}
