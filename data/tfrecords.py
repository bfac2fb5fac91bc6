"""Convert the BAIR robot pushing TFRecords to this project's layout, without TensorFlow.

    python -m data.tfrecords --records softmotion30_44k --out ROOT

`softmotion30_44k/{train,test}/traj_A_to_B.tfrecords` of the original archive hold one tf.Example a
sequence, with `N/image_aux1/encoded` (raw RGB bytes, 64×64), `N/action` (4 floats) and
`N/endeffector_pos` (3 floats) for each of its steps N.
"""

import argparse
import shutil
import struct
import sys
from collections.abc import Iterator
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image

from core.errors import UserError, exit_on_user_error

SIDE = 64  # pixels of a frame, both ways
VALIDATE = 256  # sequences of the training split put aside, as many as the test split has

# ---------------------------------------------------------------- the record file


def read_records(path: Path) -> Iterator[bytes]:
    """Yield the records of a TFRecord file; UserError where it is cut short or damaged.

    A record is its length (8 bytes), a checksum of that, the data, a checksum of those.
    """
    with path.open("rb") as file:
        number = 0
        while head := file.read(12):
            where = f"{path}, record {number}"
            if len(head) < 12:
                raise UserError(f"{where}: the file is cut short")
            length, check = struct.unpack("<QI", head)
            if masked_crc(head[:8]) != check:
                raise UserError(f"{where}: damaged, or not a TFRecord file (length checksum)")
            rest = file.read(length + 4)
            if len(rest) < length + 4:
                raise UserError(f"{where}: the file is cut short")
            data = rest[:length]
            if masked_crc(data) != struct.unpack("<I", rest[length:])[0]:
                raise UserError(f"{where}: damaged (data checksum)")
            yield data
            number += 1


def masked_crc(data: bytes) -> int:
    """Return the checksum of the format: CRC-32C, rotated and shifted."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def crc32c(data: bytes) -> int:
    """Return the CRC-32C (Castagnoli) of some bytes.

    The CRC is linear in its data but for where it starts, so blocks are taken side by side and
    joined by what zeros of a block's length would make of the value before.
    """
    table = _crc_table()
    block = max(1, int(len(data) ** 0.5))
    whole = len(data) - len(data) % block
    value = 0xFFFFFFFF
    if whole:
        joins = _after_zeros(block)
        columns = np.frombuffer(data, np.uint8, whole).reshape(-1, block).T
        values = np.zeros(columns.shape[1], np.uint32)
        for column in columns:
            values = table[(values ^ column) & 0xFF] ^ (values >> 8)
        for block_value in values.tolist():
            value = (
                joins[0][value & 0xFF]
                ^ joins[1][value >> 8 & 0xFF]
                ^ joins[2][value >> 16 & 0xFF]
                ^ joins[3][value >> 24]
                ^ block_value
            )
    for byte in data[whole:]:
        value = int(table[(value ^ byte) & 0xFF]) ^ (value >> 8)
    return value ^ 0xFFFFFFFF


@lru_cache
def _crc_table() -> np.ndarray:
    """The CRC of every byte, (256,) uint32; the polynomial is 0x1EDC6F41, lowest bit first."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, table >> 1 ^ 0x82F63B78, table >> 1).astype(np.uint32)
    return table


@lru_cache
def _after_zeros(length: int) -> list[list[int]]:
    """What so many zero bytes make of a value whose byte 0, 1, 2 or 3 alone is set: 4 × 256."""
    table = _crc_table()
    values = np.arange(256, dtype=np.uint32) << np.array([[0], [8], [16], [24]], np.uint32)
    for _ in range(length):
        values = table[values & 0xFF] ^ (values >> 8)
    return values.tolist()


# -------------------------------------------------------------- protocol buffers


def read_fields(message: bytes) -> Iterator[tuple[int, bytes | int]]:
    """Yield (number, value) of every field of a protobuf message, in its wire format.

    Values are bytes, or the integer of a varint. Raises ValueError where it is none.
    """
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, at = _varint(message, at)
        else:
            size = {1: 8, 5: 4}.get(kind)
            if kind == 2:
                size, at = _varint(message, at)
            if size is None or at + size > len(message):
                raise ValueError("not a protobuf message")
            value, at = message[at : at + size], at + size
        yield number, value


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """Read seven bits a byte, lowest first; return the number and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            break
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("not a protobuf message")


def read_example(record: bytes) -> dict[str, bytes | np.ndarray]:
    """Return the features of a tf.Example by name: bytes, or float32 values.

    Example { Features features = 1 }, Features { map<string, Feature> feature = 1 },
    Feature { BytesList = 1 or FloatList = 2 }, each list with `value` = 1. Integers are left out.
    """
    features: dict[str, bytes | np.ndarray] = {}
    for features_number, body in read_fields(record):
        for number, entry in read_fields(body) if features_number == 1 else ():
            if number != 1:
                continue
            parts = dict(read_fields(entry))
            for kind, values in read_fields(parts[2]):
                content = [value for field, value in read_fields(values) if field == 1]
                if kind == 1 and content:
                    features[parts[1].decode()] = content[0]
                elif kind == 2:  # packed: all in one, or not: four bytes each
                    features[parts[1].decode()] = np.frombuffer(b"".join(content), "<f4")
    return features


# -------------------------------------------------------------------- sequences


def read_sequence(record: bytes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return frames (T, 64, 64, 3) uint8, actions (T, 4) and positions (T, 3) of a record.

    Raises ValueError saying what is missing or of the wrong size.
    """
    features = read_example(record)
    frames, actions, positions = [], [], []
    while (name := f"{len(frames)}/image_aux1/encoded") in features:
        step = len(frames)
        if len(features[name]) != SIDE * SIDE * 3:
            raise ValueError(f"{name} has {len(features[name])} bytes, not those of 64x64 RGB")
        frames.append(np.frombuffer(features[name], np.uint8).reshape(SIDE, SIDE, 3))
        for part, rows, columns in (("action", actions, 4), ("endeffector_pos", positions, 3)):
            row = features.get(f"{step}/{part}", ())
            if len(row) != columns:
                raise ValueError(f"{step}/{part} has {len(row)} numbers instead of {columns}")
            rows.append(row)
    if not frames:
        raise ValueError("no 0/image_aux1/encoded: not a sequence of BAIR robot pushing")
    return np.stack(frames), np.stack(actions), np.stack(positions)


def write_sequence(folder: Path, sequence: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    """Write the frames and both CSVs of a sequence, whole or not at all."""
    frames, actions, positions = sequence
    partial_folder = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial_folder, ignore_errors=True)
    partial_folder.mkdir(parents=True)
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(partial_folder / f"{number}.png")
    for name, table in (("actions", actions), ("endeffector_positions", positions)):
        # Nine digits bring every float32 back as it was.
        np.savetxt(partial_folder / f"{name}.csv", table, fmt="%.9g", delimiter=",")
    partial_folder.rename(folder)


def convert_file(path: Path, out: Path, last_in: str, put_aside: int) -> int:
    """Write the sequences of a file below `out/split`, the last of them into `validate`.

    Those that are there already are left as they are. Returns how many sequences it holds.
    """
    records = list(read_records(path))
    for number, record in enumerate(records):
        split = "validate" if number >= len(records) - put_aside else last_in
        folder = out / split / path.name.split(".")[0] / str(number)
        if folder.is_dir():
            continue
        try:
            write_sequence(folder, read_sequence(record))
        except (ValueError, KeyError, TypeError, UnicodeDecodeError) as error:
            raise UserError(f"{path}, record {number}: {error}") from None
    return len(records)


def convert(records: Path, out: Path, validate: int = VALIDATE, num_workers: int = 1) -> int:
    """Convert `records/{train,test}/*.tfrecords` into `out`; return how many sequences.

    The last `validate` sequences of the last training file become the split `validate`, which the
    original lacks. A conversion that was stopped goes on where it was. Raises UserError.
    """
    jobs = []
    for split in ("train", "test"):
        folder = records / split
        paths = [p for p in folder.glob("*.tfrecord*") if p.name.split(".")[0].startswith("traj_")]
        if not paths:
            raise UserError(f"--records: no traj_A_to_B.tfrecords in {folder}")
        paths.sort(key=_first_number)
        jobs += [(path, out, split, 0) for path in paths]
        if split == "train":
            jobs[-1] = (paths[-1], out, split, validate)
    if num_workers <= 1:
        return sum(_convert_job(job) for job in jobs)
    with get_context("spawn").Pool(num_workers) as pool:
        return sum(pool.imap(_convert_job, jobs))


def _convert_job(job: tuple[Path, Path, str, int]) -> int:
    sequences = convert_file(*job)
    print(f"{job[0]}: {sequences} sequences")
    return sequences


def _first_number(path: Path) -> int:
    """The A of traj_A_to_B."""
    try:
        return int(path.name.split("_")[1])
    except (IndexError, ValueError):
        raise UserError(f"{path}: the name is not such as traj_0_to_255.tfrecords") from None


@exit_on_user_error
def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m data.tfrecords", description=__doc__.splitlines()[0], allow_abbrev=False
    )
    add = parser.add_argument
    add("--records", type=Path, required=True, help="the folder that holds train/ and test/")
    add("--out", type=Path, required=True, help="the dataset folder to fill")
    add(
        "--validate",
        type=int,
        default=VALIDATE,
        help="sequences of the last training file put aside for validation (default: %(default)s)",
    )
    add("--num_workers", type=int, default=1, help="files converted at a time (default: 1)")
    given = parser.parse_args()
    if given.validate < 0:
        raise UserError(f"--validate {given.validate}: must be at least 0")
    try:
        count = convert(given.records, given.out, given.validate, given.num_workers)
    except OSError as error:
        raise UserError(f"{error.filename}: {error.strerror}") from None
    print(f"{given.out}: {count} sequences", file=sys.stderr)


if __name__ == "__main__":
    main()
