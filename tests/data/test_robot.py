"""Robot sequences on disk: the loader and its complaints."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms.functional import to_tensor

from core.errors import UserError
from data.robot import RobotWindows, random_windows, read_sequences
from dataloader import Dataset_Robot, robot_clips
from demo.robot import make_dataset
from tests.support.data_sets import settings_for


@pytest.fixture(scope="module")
def robot_root(tmp_path_factory) -> Path:
    """A synthetic set: five sequences of 8 frames to train on, two of each other split."""
    root = tmp_path_factory.mktemp("synthetic") / "robot"
    make_dataset(root, train_sequences=5, eval_sequences=2, frames=8)
    return root


@pytest.fixture
def broken(robot_root, tmp_path) -> Path:
    """A copy of the set, to be broken."""
    return Path(shutil.copytree(robot_root, tmp_path / "robot"))


def test_a_condition_is_the_row_before_of_both_csvs(robot_root):
    sequences = read_sequences(robot_root, "train")
    assert len(sequences) == 5
    for folder, start in zip(sequences.folders, sequences.starts):
        rows = [
            np.loadtxt(folder / f"{name}.csv", delimiter=",", dtype=np.float32)
            for name in ("actions", "endeffector_positions")
        ]
        found = sequences.conditions[start : start + 8]
        np.testing.assert_array_equal(found[1:], np.concatenate(rows, axis=1)[:-1])
        assert not found[0].any()


def test_folders_come_in_the_order_of_their_numbers(broken):
    train = broken / "train"
    (train / "traj_0_to_255").rename(train / "traj_1000_to_1255")
    shutil.copytree(broken / "test" / "traj_0_to_255" / "0", train / "traj_256_to_511" / "10")
    shutil.copytree(broken / "test" / "traj_0_to_255" / "0", train / "traj_256_to_511" / "9")
    found = [str(f.relative_to(train)) for f in read_sequences(broken, "train").folders]
    assert found[:2] == ["traj_256_to_511/9", "traj_256_to_511/10"]
    assert found[2:] == [f"traj_1000_to_1255/{k}" for k in range(5)]


def test_an_epoch_is_a_function_of_seed_and_epoch(robot_root, settings):
    data = RobotWindows(settings_for(settings, robot_root), torch.device("cpu"))
    assert data.batches_in(0) == 4
    epochs = {e: list(data.batches(e)) for e in (0, 1)}
    again = list(data.batches(0))
    assert len(again) == 4
    for one, two in zip(epochs[0], again):
        assert torch.equal(one.frames, two.frames)
        assert torch.equal(one.conditions, two.conditions)
    assert any(not torch.equal(a.index, b.index) for a, b in zip(epochs[0], epochs[1]))
    batch = again[0]
    assert batch.frames.shape == (3, 5, 3, 64, 64)
    assert batch.conditions.shape == (3, 5, 7)
    for k in range(3):  # each window is a run of one sequence
        start = int(batch.index[0, k])
        assert batch.index[:, k].tolist() == list(range(start, start + 5))
        assert start % 8 <= 3
        picture = np.asarray(Image.open(data.sequences.images.paths[start])) / np.float32(255)
        torch.testing.assert_close(
            batch.frames[k, 0].permute(1, 2, 0), torch.from_numpy(picture), rtol=0, atol=1e-6
        )
        expected = torch.from_numpy(data.sequences.conditions[start : start + 5])
        assert torch.equal(batch.conditions[k], expected)


@given(st.integers(1, 9), st.integers(1, 40), st.integers(0, 99))
def test_windows_stay_inside_and_every_sequence_is_taken_before_any_again(count, windows, seed):
    lengths = np.arange(count) % 3 + 5
    which, first = random_windows(lengths, 5, windows, seed=seed, epoch=0)
    assert len(which) == len(first) == windows
    assert (first >= 0).all()
    assert (first + 5 <= lengths[which]).all()
    for begin in range(0, windows, count):
        part = which[begin : begin + count]
        assert len(set(part.tolist())) == len(part)


@pytest.mark.parametrize("split", ["validate", "test"])
def test_clips_are_every_sequence_once_in_order(robot_root, settings, split):
    clips = robot_clips(settings_for(settings, robot_root), split)
    folders = read_sequences(robot_root, split).folders
    assert [clip.name for clip in clips] == [f"{f.parent.name}_{f.name}" for f in folders]
    for clip, folder in zip(clips, folders):
        assert (len(clip), clip.n_past, clip.has_truth) == (6, 2, True)
        picture = np.asarray(Image.open(folder / "5.png"))
        np.testing.assert_array_equal(clip.frames[5].permute(1, 2, 0).numpy(), picture)


def test_the_dataset_of_the_lab(robot_root):
    test = Dataset_Robot(str(robot_root), to_tensor, "test", seq_len=6)
    assert len(test) == 2
    frames, conditions = test[1]
    folder = robot_root / "test" / "traj_0_to_255" / "1"
    assert torch.equal(frames[3], to_tensor(Image.open(folder / "3.png")))
    assert conditions.shape == (6, 7)
    with pytest.raises(IndexError):
        test[2]
    train = [Dataset_Robot(str(robot_root), to_tensor, seq_len=3, epoch=e) for e in (0, 0, 1)]
    a, b, c = (torch.stack([d[i][0] for i in range(5)]) for d in train)
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    with pytest.raises(ValueError, match="mode"):
        Dataset_Robot(str(robot_root), to_tensor, "val")


BREAKS = {
    "3.png": (lambda f: (f / "3.png").unlink(), "3.png is missing"),
    "7.png": (lambda f: (f / "7.png").unlink(), "7.png is missing"),
    "actions.csv": (lambda f: (f / "actions.csv").unlink(), "cannot be read"),
    "short": (
        lambda f: cut(f / "endeffector_positions.csv"),
        "endeffector_positions.csv has 7 rows",
    ),
    "ragged": (lambda f: append(f / "actions.csv", "1,2,3"), "changed from 4 to 3 at row 9"),
    "text": (lambda f: append(f / "actions.csv", "1,2,3,x"), "not a table of numbers"),
    "header": (lambda f: put_first(f / "actions.csv", "a,b,c,d"), "without a header"),
    "nan": (lambda f: append(f / "actions.csv", "1,nan,3,4"), "row 9: not a finite"),
    "bytes": (lambda f: (f / "actions.csv").write_bytes(b"\xff\xfe\x00"), "cannot be read"),
}


def cut(path: Path) -> None:
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


def append(path: Path, line: str) -> None:
    path.write_text(path.read_text() + line + "\n")


def put_first(path: Path, line: str) -> None:
    path.write_text(line + "\n" + path.read_text())


@pytest.mark.parametrize("kind", BREAKS)
def test_a_broken_sequence_is_named(broken, kind):
    do, message = BREAKS[kind]
    folder = broken / "train" / "traj_0_to_255" / "2"
    do(folder)
    with pytest.raises(UserError, match=message) as caught:
        read_sequences(broken, "train")
    assert str(folder) in str(caught.value)


def test_too_short_a_sequence_names_the_flag(robot_root, settings):
    with pytest.raises(UserError, match="8 frames, --n_eval 9 needs 9"):
        robot_clips(settings_for(settings, robot_root, n_eval=9), "test")
    with pytest.raises(UserError, match=r"--n_past 2 --n_future 10 needs 12"):
        RobotWindows(
            settings_for(settings, robot_root, n_future=10, train_vi_len=12), torch.device("cpu")
        )


def test_missing_folders_are_named(tmp_path):
    with pytest.raises(UserError, match="--DR"):
        read_sequences(tmp_path / "none", "train")
    with pytest.raises(UserError, match="train"):
        read_sequences(tmp_path, "train")
    (tmp_path / "train" / "other").mkdir(parents=True)
    with pytest.raises(UserError, match="no sequences"):
        read_sequences(tmp_path, "train")
