"""The robot data: sequences of frames with what the robot was told to do and where it was.

Layout on disk: docs/robot.md. Dimensions: T frames, K = 7 numbers of a condition.

The condition of frame t is row t − 1 of both CSVs: the command that leads from frame t − 1 to
frame t, and where the arm was when it was given. Frame 0 has none: its condition is zeros.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from core import distributed
from core.errors import UserError
from core.files import open_regular
from core.randomness import Stream, numpy_generator
from core.transfer import send
from data.layout import ROBOT, check_root
from data.placement import as_frames, as_images, frames_of, gather_windows, place
from data.store.images import numbered_folders, numbered_images
from data.store.picture_files import PictureFiles
from data.types import Batch, Clip
from data.windows import data_fraction

SPLITS = ("train", "validate", "test")
ACTIONS, POSITIONS = ("actions.csv", 4), ("endeffector_positions.csv", 3)  # names and columns
_TRAJECTORY = re.compile(r"traj_(\d{1,9})_to_(\d{1,9})")


@dataclass(frozen=True)
class Sequences:
    """The sequences of a split, in the order of their numbers, laid end to end."""

    folders: list[Path]
    images: PictureFiles  # of all sequences
    conditions: np.ndarray  # (frames, K) float32, of all sequences
    lengths: np.ndarray  # (sequences,) frames of each
    starts: np.ndarray  # (sequences,) index of each one's frame 0
    content: str  # digest of folder names and CSVs

    def __len__(self) -> int:
        return len(self.folders)

    def require(self, length: int, why: str) -> None:
        """Raise UserError for a sequence of fewer than `length` frames, which `why` asks for."""
        for folder, frames in zip(self.folders, self.lengths):
            if frames < length:
                raise UserError(f"{folder} has {frames} frames, {why} needs {length}")


def sequence_folders(root: Path, split: str) -> list[Path]:
    """List `split/traj_A_to_B/N` in the order of A, B and N. Raises UserError where none is."""
    check_root(root, ROBOT)
    parent = root / split
    if not parent.is_dir():
        raise UserError(f"no folder {parent}: check --DR (layout in docs/robot.md)")
    trajectories = sorted(
        (tuple(map(int, match.groups())), folder)
        for folder in parent.iterdir()
        if (match := _TRAJECTORY.fullmatch(folder.name)) and folder.is_dir()
    )
    folders = [f for _, folder in trajectories for f in numbered_folders(folder).values()]
    if not folders:
        raise UserError(
            f"no sequences in {parent}: expected such as {parent / 'traj_0_to_255' / '0'}"
        )
    return folders


def read_sequences(root: Path, split: str) -> Sequences:
    """List the frames of a split and read its CSVs.

    Raises UserError naming the file for a missing frame, and for a CSV that is short, ragged or
    not of numbers.
    """
    folders = sequence_folders(root, split)
    content = hashlib.sha256()
    images, conditions = [], []
    for folder in folders:
        content.update(f"{folder.relative_to(root).as_posix()}\n".encode())
        tables = [_read_bytes(folder / name) for name, _ in (ACTIONS, POSITIONS)]
        for table in tables:
            content.update(table)
        frames, causes = _sequence_of(folder, *tables)
        images += frames
        conditions.append(causes)
    lengths = np.array([len(c) for c in conditions])
    return Sequences(
        folders,
        PictureFiles(np.arange(len(images)), images),
        np.concatenate(conditions),
        lengths,
        np.concatenate([[0], np.cumsum(lengths)[:-1]]),
        content.hexdigest()[:16],
    )


def _sequence_of(folder: Path, *tables: bytes) -> tuple[list[Path], np.ndarray]:
    """Return the frames of a folder and their conditions (T, K) float32, from its two CSVs."""
    actions, positions = (
        _numbers_of(table, folder / name, columns)
        for table, (name, columns) in zip(tables, (ACTIONS, POSITIONS))
    )
    frames = numbered_images(folder)
    length = max(len(actions), len(positions), max(frames) + 1)
    for number in range(length):
        if number not in frames:
            raise UserError(
                f"{folder / f'{number}.png'} is missing: the sequence has {length} steps"
            )
    for (name, _), rows in ((ACTIONS, actions), (POSITIONS, positions)):
        if len(rows) < length:
            raise UserError(f"{folder / name} has {len(rows)} rows for {length} frames")
    causes = np.concatenate([actions, positions], axis=1, dtype=np.float32)
    return list(frames.values()), np.concatenate([np.zeros_like(causes[:1]), causes[:-1]])


def _read_bytes(path: Path) -> bytes:
    try:
        with open_regular(path) as file:
            return file.read()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None


def _numbers_of(table: bytes, path: Path, columns: int) -> np.ndarray:
    """Parse a CSV of finite numbers without a header: (rows, columns) float64."""
    if not table.strip():
        return np.empty((0, columns))
    try:
        lines = table.decode().splitlines()
        values = np.loadtxt(lines, delimiter=",", quotechar='"', comments=None, ndmin=2)
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
    except ValueError as error:
        raise UserError(f"{path}: not a table of numbers without a header ({error})") from None
    if values.shape[1] != columns:
        raise UserError(f"{path}: {values.shape[1]} columns instead of {columns}")
    if len(rows := np.flatnonzero(~np.isfinite(values).all(axis=1))):
        raise UserError(f"{path}, row {rows[0] + 1}: not a finite number")
    return values


def random_windows(
    lengths: np.ndarray, length: int, windows: int, *, seed: int, epoch: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the sequence and the first frame of every window of an epoch, from (seed, epoch).

    Sequences come in shuffled rounds, so that none is drawn twice before each was drawn once.
    """
    rng = numpy_generator(seed, Stream.WINDOWS, epoch)
    rounds = -(-windows // len(lengths))
    which = np.concatenate([rng.permutation(len(lengths)) for _ in range(rounds)])[:windows]
    return which, rng.integers(0, lengths[which] - length + 1)


class RobotData:
    """A robot data set. Nothing is read before it is asked for, and nothing twice.

    `settings` give the place (`DR`), the frame size, the cache, and the lengths of windows and
    clips. Raises UserError where the data are not as docs/robot.md says.
    """

    def __init__(self, settings):
        self.settings = settings
        self._splits: dict[str, Sequences] = {}

    def sequences(self, split: str) -> Sequences:
        """Return the sequences of train, validate or test."""
        if split not in self._splits:
            self._splits[split] = read_sequences(Path(self.settings.DR), split)
        return self._splits[split]

    def digest(self) -> str:
        """Return what tells one training set from another: a digest of its sequences and CSVs."""
        return self.sequences("train").content

    def clips(self, split: str, first: int | None = None) -> list[Clip]:
        """Return the first `n_eval` frames of every sequence of a split, or of the `first`."""
        length = self.settings.n_eval
        sequences = self.sequences(split)
        sequences.require(length, f"--n_eval {length}")
        frames = frames_of(sequences.images, self.settings)
        clips = []
        for folder, start in zip(sequences.folders[:first], sequences.starts):
            here = slice(start, start + length)
            conditions = torch.from_numpy(sequences.conditions[here])
            name = f"{folder.parent.name}_{folder.name}"
            clips.append(Clip(name, as_images(frames[here]), conditions, self.settings.n_past))
        return clips


class RobotWindows:
    """Training windows gathered by index from the decoded frames (`data.types.TrainingData`).

    An epoch has `epoch_size` batches. Frames lie on the host until `place` puts them on the device.
    """

    def __init__(self, settings, device: torch.device, data: RobotData | None = None):
        """data: where the sequences are read already."""
        self.settings, self.device = settings, device
        self.length = settings.train_vi_len
        self.sequences = (data or RobotData(settings)).sequences("train")
        asked = f"--n_past {settings.n_past} --n_future {settings.n_future}"
        self.sequences.require(self.length, asked)
        self.frames = as_frames(frames_of(self.sequences.images, settings))
        self.conditions = torch.from_numpy(self.sequences.conditions)

    def place(self) -> "RobotWindows":
        """Put the frames on the device where there is room; all processes call it at once."""
        (self.frames,) = place((self.frames,), self.device)
        self.conditions = self.conditions.to(self.device)
        return self

    def batches_in(self, epoch: int) -> int:
        """Return how many batches the epoch has."""
        return self.settings.epoch_size

    def batches(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """Yield the batches of the epoch from number `first` on: this process's part of each.

        They are drawn from (seed, epoch) alone. The parts of all processes, joined, are what one
        process with the same global batch gets.
        """
        settings, sequences = self.settings, self.sequences
        global_batch_size = distributed.world_size() * settings.batch_size
        kept = max(1, int(len(sequences) * data_fraction(settings, epoch)))
        which, begin = random_windows(
            sequences.lengths[:kept],
            self.length,
            settings.epoch_size * global_batch_size,
            seed=settings.seed,
            epoch=epoch,
        )
        home = self.frames.device
        starts = send(torch.from_numpy(sequences.starts[which] + begin), home)
        steps = torch.arange(self.length, device=home)[:, None]
        for batch in starts.split(global_batch_size)[first:]:
            index = steps + distributed.local_shard(batch)  # (T, B): time leads, as the model works
            frames = gather_windows(self.frames, index, self.device)
            conditions = self.conditions[send(index, self.conditions.device)]
            conditions = send(conditions, self.device).transpose(0, 1)
            yield Batch(frames, conditions, send(index, self.device))
