"""The robot data: sequences of frames with what the robot was told to do and where it was.

Layout on disk: README, "The robot system". Dimensions: T frames, K = 7 numbers of a condition.

The condition of frame t is row t − 1 of both CSVs: the command that leads from frame t − 1 to
frame t, and where the arm was when it was given. Frame 0 has none, and zeros stand there.
"""

import contextlib
import csv
import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from core import distributed
from core.errors import UserError
from core.randomness import Stream, numpy_generator
from data.gather import as_images, decode, gather, place
from data.store.images import numbered_folders, numbered_images, open_image
from data.types import Batch, Clip
from data.windows import data_fraction

SPLITS = ("train", "validate", "test")
ACTIONS, POSITIONS = ("actions.csv", 4), ("endeffector_positions.csv", 3)  # names and columns
_TRAJECTORY = re.compile(r"traj_(\d{1,9})_to_(\d{1,9})")


@dataclass(frozen=True)
class Sequences:
    """The sequences of a split, in the order of their numbers, laid end to end."""

    folders: list[Path]
    images: list[Path]  # of all sequences
    conditions: np.ndarray  # (frames, K) float32, of all sequences
    lengths: np.ndarray  # (sequences,) frames of each
    starts: np.ndarray  # (sequences,) index of each one's frame 0

    def __len__(self) -> int:
        return len(self.folders)


def sequence_folders(root: Path, split: str) -> list[Path]:
    """List `split/traj_A_to_B/N` in the order of A, B and N. Raises UserError where none is."""
    if not root.is_dir():
        raise UserError(f"--DR {root}: no such folder")
    place = root / split
    if not place.is_dir():
        raise UserError(f"no folder {place}: check --DR (layout in the README, 'The robot system')")
    trajectories = sorted(
        (tuple(map(int, match.groups())), folder)
        for folder in place.iterdir()
        if (match := _TRAJECTORY.fullmatch(folder.name)) and folder.is_dir()
    )
    folders = [f for _, folder in trajectories for f in numbered_folders(folder).values()]
    if not folders:
        raise UserError(
            f"no sequences in {place}: expected such as {place / 'traj_0_to_255' / '0'}"
        )
    return folders


def read_sequences(root: Path, split: str, at_least: int, why: str) -> Sequences:
    """Read which frames a split has, and its CSVs.

    Raises UserError naming the file for a missing frame, for a CSV that is short, ragged or not
    of numbers, and for a sequence of fewer than `at_least` frames, which `why` asks for.
    """
    folders = sequence_folders(root, split)
    frames, conditions = zip(*(_read_sequence(f, at_least, why) for f in folders))
    lengths = np.array([len(c) for c in conditions])
    return Sequences(
        folders,
        [path for paths in frames for path in paths],
        np.concatenate(conditions),
        lengths,
        np.concatenate([[0], np.cumsum(lengths)[:-1]]),
    )


def _read_sequence(folder: Path, at_least: int, why: str) -> tuple[list[Path], np.ndarray]:
    """Return the frames of a sequence and their conditions (T, K) float32."""
    actions, positions = (_read_numbers(folder / name, n) for name, n in (ACTIONS, POSITIONS))
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
    if length < at_least:
        raise UserError(f"{folder} has {length} frames, {why} needs {at_least}")
    causes = np.concatenate([actions, positions], axis=1, dtype=np.float32)
    return list(frames.values()), np.concatenate([np.zeros_like(causes[:1]), causes[:-1]])


def _read_numbers(path: Path, columns: int) -> np.ndarray:
    """Read a CSV of finite numbers without a header: (rows, columns) float64."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.reader(file) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: cannot be read ({reason})") from None
    for number, row in enumerate(rows, 1):
        if len(row) != columns:
            raise UserError(f"{path}, row {number}: {len(row)} columns instead of {columns}")
    try:
        values = np.array(rows, dtype=np.float64).reshape(len(rows), columns)
    except ValueError as error:
        raise UserError(f"{path}: not a table of numbers without a header ({error})") from None
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0]) + 1
        raise UserError(f"{path}, row {row}: not a finite number")
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


class Dataset_Robot(Dataset):
    """Sequences in the lab's layout: item i is `(frames, conditions)`.

    frames (seq_len, 3, H, W) as `transform` returns them for PIL images in RGB; conditions
    (seq_len, 7). In mode `train` item i is a random window of a random sequence, drawn from
    (seed, epoch, i); `epoch` may be set between epochs. In `validate` and `test` it is the
    beginning of the i-th sequence. Pictures are decoded on every access; training here goes
    through `RobotWindows` and its cache instead.
    """

    def __init__(
        self,
        root: str,
        transform: Callable,
        mode: str = "train",
        seq_len: int = 12,
        seed: int = 0,
        epoch: int = 0,
    ):
        if mode not in SPLITS:
            raise ValueError(f"mode must be one of {', '.join(SPLITS)}, not {mode!r}")
        self.sequences = read_sequences(Path(root), mode, seq_len, f"seq_len {seq_len}")
        self.transform, self.mode, self.seq_len = transform, mode, seq_len
        self.seed, self.epoch = seed, epoch

    def __len__(self) -> int:
        return len(self.sequences)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index, first = index % len(self), 0
        if self.mode == "train":
            rng = numpy_generator(self.seed, Stream.WINDOWS, self.epoch, index)
            index = rng.integers(len(self))
            first = rng.integers(0, self.sequences.lengths[index] - self.seq_len + 1)
        first += self.sequences.starts[index]
        window = slice(first, first + self.seq_len)
        frames = [self.transform(open_image(path)) for path in self.sequences.images[window]]
        return torch.stack(frames), torch.from_numpy(self.sequences.conditions[window].copy())


class RobotWindows:
    """Training windows gathered by index from the decoded frames (`data.types.TrainingData`).

    An epoch has `epoch_size` batches.
    """

    def __init__(self, settings, device: torch.device):
        self.settings, self.device = settings, device
        self.length = settings.train_vi_len
        asked = f"--n_past {settings.n_past} --n_future {settings.n_future}"
        self.sequences = read_sequences(Path(settings.DR), "train", self.length, asked)
        self.frames = place(decode(settings, self.sequences.images), device)
        self.conditions = torch.from_numpy(self.sequences.conditions).to(device)

    def batches_in(self, epoch: int) -> int:
        """Return how many batches the epoch has."""
        return self.settings.epoch_size

    def batches(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """Yield the batches of the epoch from number `first` on: this process's part of each.

        They are drawn from (seed, epoch) alone. The parts of all processes, joined, are what one
        process with the same total batch gets.
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
        starts = torch.from_numpy(sequences.starts[which] + begin)
        steps = torch.arange(self.length)[:, None]
        for batch in starts.split(global_batch_size)[first:]:
            index = steps + distributed.local_shard(batch)  # (T, B): time leads, as the model works
            frames = gather(self.frames, index.to(self.frames.device), self.device)
            index = index.to(self.device)
            yield Batch(frames, self.conditions[index].transpose(0, 1), index)


def robot_data_digest(settings) -> str:
    """Return what tells one training set from another: a digest of its sequences and CSVs."""
    root = Path(settings.DR)
    digest = hashlib.sha256()
    for folder in sequence_folders(root, "train"):
        digest.update(f"{folder.relative_to(root).as_posix()}\n".encode())
        for name, _ in (ACTIONS, POSITIONS):
            with contextlib.suppress(OSError):  # what is missing is told when it is read
                digest.update((folder / name).read_bytes())
    return digest.hexdigest()[:16]


def robot_clips(settings, split: str, first: int | None = None) -> list[Clip]:
    """Return the first `n_eval` frames of every sequence of a split, or of the `first`, in order.

    Raises UserError as `read_sequences` does.
    """
    length = settings.n_eval
    sequences = read_sequences(Path(settings.DR), split, length, f"--n_eval {length}")
    frames = decode(settings, sequences.images)
    clips = []
    for folder, start in zip(sequences.folders[:first], sequences.starts):
        here = slice(start, start + length)
        conditions = torch.from_numpy(sequences.conditions[here])
        name = f"{folder.parent.name}_{folder.name}"
        clips.append(Clip(name, as_images(frames[here]), conditions, settings.n_past))
    return clips
