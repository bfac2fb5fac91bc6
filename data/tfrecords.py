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
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from crc32c import crc32c
from google.protobuf.message import DecodeError
from PIL import Image
from tfrecord.example_pb2 import Example

from core.errors import UserError, exit_on_user_error

SIDE = 64  # pixels of a frame, both ways
VALIDATE = 256  # sequences of the training split put aside, as many as the test split has


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


def read_sequence(record: bytes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return frames (T, 64, 64, 3) uint8, actions (T, 4) and positions (T, 3) of a record.

    Raises ValueError saying what is missing or of the wrong size.
    """
    features = Example.FromString(record).features.feature
    frames, actions, positions = [], [], []
    while (name := f"{len(frames)}/image_aux1/encoded") in features:
        step, picture = len(frames), b"".join(features[name].bytes_list.value)
        if len(picture) != SIDE * SIDE * 3:
            raise ValueError(f"{name} has {len(picture)} bytes, not those of 64x64 RGB")
        frames.append(np.frombuffer(picture, np.uint8).reshape(SIDE, SIDE, 3))
        for part, rows, columns in (("action", actions, 4), ("endeffector_pos", positions, 3)):
            row = features[f"{step}/{part}"].float_list.value
            if len(row) != columns:
                raise ValueError(f"{step}/{part} has {len(row)} numbers instead of {columns}")
            rows.append(np.array(row, np.float32))
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
        except (ValueError, DecodeError) as error:
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
