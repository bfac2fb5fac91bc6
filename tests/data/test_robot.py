"""Robot sequences on disk: the demo's drawing, the loader and its complaints, the converter."""

import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms.functional import to_tensor

from core.errors import UserError
from data.robot import RobotWindows, random_windows, read_sequences
from data.tfrecords import convert, crc32c, masked_crc, read_sequence
from dataloader import Dataset_Robot, robot_clips
from demo import pushing
from demo.dataset import Refusal
from demo.robot import draw_dataset, sequence
from tests.support import ROOT

# ------------------------------------------------------------------------- demo


def test_the_same_seed_draws_the_same_set_and_another_another(tmp_path):
    sizes = {"train_sequences": 2, "eval_sequences": 1, "frames": 4}
    assert draw_dataset(tmp_path / "a", **sizes, num_workers=2)
    assert draw_dataset(tmp_path / "b", **sizes)
    assert draw_dataset(tmp_path / "c", **sizes, seed=1)
    a, b, c = (
        {p.relative_to(tmp_path / n): p.read_bytes() for p in (tmp_path / n).rglob("traj*/*/*")}
        for n in "abc"
    )
    assert len(a) == 4 * 6
    assert a == b
    assert set(a) == set(c)
    assert a != c
    assert not draw_dataset(tmp_path / "a", **sizes)
    with pytest.raises(Refusal, match="other arguments"):
        draw_dataset(tmp_path / "a", **sizes, seed=1)
    with pytest.raises(Refusal, match="--frames"):
        draw_dataset(tmp_path / "d", frames=0)


def test_the_arm_obeys_its_commands_and_reports_where_it_is():
    pictures, actions, positions = sequence(0, "train", 3, 30)
    assert pictures.shape == (30, 64, 64, 3)
    assert np.abs(actions).max() <= 1
    moved = np.clip(positions[:-1] + pushing.STEP * actions[:-1, :3], *pushing.REACH)
    np.testing.assert_allclose(positions[1:], moved)


def test_the_command_decides_where_the_arm_is_seen():
    table = pushing.lay(np.random.default_rng(0))
    rng = np.random.default_rng(1)
    left, right = (pushing.step(table, np.array([dx, 0, 0, 0]), rng) for dx in (-1, 1))
    assert left.hand[0] < table.hand[0] < right.hand[0]


def test_the_same_push_ends_differently_by_chance():
    table = pushing.lay(np.random.default_rng(0))
    thing = table.things[0]
    beside = np.array([*(thing.place - (thing.size, 0)), 0.0])
    table = pushing.replace(table, hand=beside)
    ends = [
        pushing.step(table, np.array([1.0, 0, 0, 0]), np.random.default_rng(seed)).things[0]
        for seed in range(20)
    ]
    assert np.std([end.place for end in ends], axis=0).min() > 0.01
    assert len({end.faces[0] for end in ends}) > 1
    raised = pushing.replace(table, hand=np.array([*beside[:2], 0.9]))
    assert pushing.step(raised, np.array([1.0, 0, 0, 0]), np.random.default_rng(0)).things == (
        table.things
    )


# ----------------------------------------------------------------------- loader


@pytest.fixture(scope="module")
def robot_root(tmp_path_factory) -> Path:
    """A drawn set: five sequences of 8 frames to train on, two of each other split."""
    root = tmp_path_factory.mktemp("drawn") / "robot"
    draw_dataset(root, train_sequences=5, eval_sequences=2, frames=8)
    return root


@pytest.fixture
def broken(robot_root, tmp_path) -> Path:
    """A copy of the set, to be broken."""
    return Path(shutil.copytree(robot_root, tmp_path / "robot"))


def settings_for(settings, root, **flags):
    """Return settings of short windows and clips."""
    lengths = {"n_past": 2, "n_future": 3, "train_vi_len": 5, "n_eval": 6}
    sizes = {"frame_H": 64, "frame_W": 64, "epoch_size": 4, "batch_size": 3}
    return settings().but(**{"DR": str(root)} | lengths | sizes | flags)


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
    for k in range(3):  # each window is one piece of one sequence
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
def test_windows_stay_inside_and_every_sequence_is_drawn_before_any_again(count, windows, seed):
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
    "ragged": (lambda f: append(f / "actions.csv", "1,2,3"), "row 9: 3 columns instead of 4"),
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


# -------------------------------------------------------------------- TFRecords


def example_message():
    """Return the class of tf.Example, made by protobuf itself from its published definition."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="example.proto", package="t", syntax="proto3")

    def message(name: str, *fields: tuple) -> None:
        made = file.message_type.add(name=name)
        for number, (label, kind, of, repeated) in enumerate(fields, 1):
            made.field.add(
                name=label,
                number=number,
                type=kind,
                type_name=of,
                label=field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL,
            )

    message("BytesList", ("value", field.TYPE_BYTES, None, True))
    message("FloatList", ("value", field.TYPE_FLOAT, None, True))
    message("Int64List", ("value", field.TYPE_INT64, None, True))
    message(
        "Feature",
        ("bytes_list", field.TYPE_MESSAGE, ".t.BytesList", False),
        ("float_list", field.TYPE_MESSAGE, ".t.FloatList", False),
        ("int64_list", field.TYPE_MESSAGE, ".t.Int64List", False),
    )
    message("Features", ("feature", field.TYPE_MESSAGE, ".t.Features.FeatureEntry", True))
    entry = file.message_type[-1].nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    entry.field.add(
        name="value",
        number=2,
        type=field.TYPE_MESSAGE,
        type_name=".t.Feature",
        label=field.LABEL_OPTIONAL,
    )
    message("Example", ("features", field.TYPE_MESSAGE, ".t.Features", False))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("t.Example"))


def record_of(rng: np.random.Generator, steps: int = 3, leave_out: str = "") -> tuple:
    """Return a serialized tf.Example and the (frames, actions, positions) it holds."""
    example = example_message()()
    frames = rng.integers(0, 256, (steps, 64, 64, 3), dtype=np.uint8)
    actions, positions = (rng.normal(size=(steps, n)).astype(np.float32) for n in (4, 3))
    feature = example.features.feature
    for t in range(steps):
        feature[f"{t}/image_main/encoded"].bytes_list.value.append(b"another camera")
        feature[f"{t}/image_aux1/encoded"].bytes_list.value.append(frames[t].tobytes())
        feature[f"{t}/action"].float_list.value.extend(actions[t])
        feature[f"{t}/endeffector_pos"].float_list.value.extend(positions[t])
    feature["number"].int64_list.value.append(-5)
    if leave_out:
        del feature[leave_out]
    return example.SerializeToString(), (frames, actions, positions)


def slow_crc(data: bytes) -> int:
    """CRC-32C bit by bit."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value ^ 0xFFFFFFFF


def write_records(path: Path, *records: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for data in records:
            head = struct.pack("<Q", len(data))
            for part in (head, data):
                crc = crc32c(part)
                mask = ((crc >> 15) | (crc << 17) & 0xFFFFFFFF) + 0xA282EAD8 & 0xFFFFFFFF
                file.write(part + struct.pack("<I", mask))


@given(st.binary(max_size=300))
def test_the_checksum_is_crc_32c(data):
    assert crc32c(data) == slow_crc(data)


def test_the_checksum_has_its_published_values():  # RFC 3720, B.4
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA


def test_records_become_the_layout(tmp_path, settings):
    rng = np.random.default_rng(0)
    made = [record_of(rng) for _ in range(5)]
    train = tmp_path / "records" / "train"
    write_records(train / "traj_256_to_511.tfrecords", *(r for r, _ in made[:3]))
    write_records(train / "traj_0_to_255.tfrecords", made[3][0])
    write_records(tmp_path / "records" / "test" / "traj_0_to_255.tfrecords", made[4][0])
    assert convert(tmp_path / "records", tmp_path / "out", validate=1) == 5
    places = {
        "train/traj_256_to_511/0": 0,
        "train/traj_256_to_511/1": 1,
        "validate/traj_256_to_511/2": 2,
        "train/traj_0_to_255/0": 3,
        "test/traj_0_to_255/0": 4,
    }
    found = {str(p.parent.relative_to(tmp_path / "out")) for p in tmp_path.glob("out/**/0.png")}
    assert found == set(places)
    for place, index in places.items():
        frames, actions, positions = made[index][1]
        folder = tmp_path / "out" / place
        for t in range(3):
            np.testing.assert_array_equal(np.asarray(Image.open(folder / f"{t}.png")), frames[t])
        for name, table in (("actions", actions), ("endeffector_positions", positions)):
            read = np.loadtxt(folder / f"{name}.csv", delimiter=",", dtype=np.float32)
            np.testing.assert_array_equal(read, table)
    clips = robot_clips(settings_for(settings, tmp_path / "out", n_eval=3), "test")
    np.testing.assert_array_equal(clips[0].frames.permute(0, 2, 3, 1).numpy(), made[4][1][0])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda data: data[:-3], "record 0: the file is cut short"),
        (lambda data: data[:6], "record 0: the file is cut short"),
        (lambda data: b"\x01" + data[1:], "length checksum"),
        (lambda data: data[:5000] + b"~" + data[5001:], "data checksum"),
        (lambda data: b"PNG, not records" + data, "not a TFRecord file"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, spoil, message):
    record, _ = record_of(np.random.default_rng(0))
    for split in ("train", "test"):
        write_records(tmp_path / split / "traj_0_to_255.tfrecords", record)
    path = tmp_path / "train" / "traj_0_to_255.tfrecords"
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(UserError, match=message) as caught:
        convert(tmp_path, tmp_path / "out")
    assert str(path) in str(caught.value)
    assert not list(tmp_path.glob("out/**/*.png"))


@pytest.mark.parametrize(
    ("leave_out", "message"),
    [
        ("0/image_aux1/encoded", "not a sequence of BAIR"),
        ("1/action", "1/action has 0 numbers instead of 4"),
        ("2/endeffector_pos", "2/endeffector_pos has 0 numbers instead of 3"),
    ],
)
def test_an_incomplete_record_is_refused(leave_out, message):
    record, _ = record_of(np.random.default_rng(0), leave_out=leave_out)
    with pytest.raises(ValueError, match=message):
        read_sequence(record)


def test_the_converter_as_a_command_goes_on_where_it_was(tmp_path):
    record, _ = record_of(np.random.default_rng(0))
    for split in ("train", "test"):
        write_records(tmp_path / split / "traj_0_to_255.tfrecords", record, record)
    command = [sys.executable, "-m", "data.tfrecords", "--records", tmp_path]
    command += ["--out", tmp_path / "out", "--validate", "1"]
    for _ in range(2):
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
        assert done.returncode == 0, done.stderr
        assert len(list(tmp_path.glob("out/*/traj_0_to_255/*/2.png"))) == 4
        shutil.rmtree(tmp_path / "out" / "test" / "traj_0_to_255" / "1")
    done = subprocess.run(
        [*command[:4], tmp_path / "none", *command[5:]], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: --records")
    assert masked_crc(b"") == 0xA282EAD8
