"""TFRecords of the robot data: read without TensorFlow, refused where damaged."""

import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from core.errors import UserError
from data.tfrecords import convert, crc32c, masked_crc, read_sequence
from dataloader import robot_clips
from tests.support import ROOT
from tests.support.data_sets import settings_for


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
