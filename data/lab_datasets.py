"""The datasets as programs of the lab use them (docs/lab.md): decoded on every access.

Training here goes through `DanceData` and `RobotData` with their cache instead.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from core.randomness import Stream, numpy_generator
from data.dance import list_split
from data.robot import SPLITS, read_sequences
from data.store.images import open_image
from data.store.remote import as_path


class Dataset_Dance(Dataset):
    """The lab's dataset: item i holds the i-th window of `video_len` frames, laid end to end.

    Items are `(frames, poses)`, each (video_len, 3, H, W) as `transform` returns them; it gets
    PIL images in RGB. `partial` keeps the first part of the frames.
    """

    def __init__(
        self,
        root: str,
        transform: Callable,
        mode: str = "train",
        video_len: int = 7,
        partial: float = 1.0,
    ):
        if mode not in ("train", "val"):
            raise ValueError(f"mode must be 'train' or 'val', not {mode!r}")
        split = list_split(as_path(str(root)), mode)
        self.images, self.poses = split.images.paths, split.poses.paths
        self.transform = transform
        self.video_len = video_len
        self.windows = int(len(self.images) * partial) // video_len

    def __len__(self) -> int:
        return self.windows

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        start = _position(index, len(self)) * self.video_len
        window = slice(start, start + self.video_len)
        frames, poses = (_transformed(self.transform, x[window]) for x in (self.images, self.poses))
        return frames, poses


class Dataset_Robot(Dataset):
    """Sequences in the lab's layout: item i is `(frames, conditions)`.

    frames (seq_len, 3, H, W) as `transform` returns them for PIL images in RGB; conditions
    (seq_len, 7). In mode `train` item i is a random window of a random sequence, drawn from
    (seed, epoch, i); `epoch` may be set between epochs. In `validate` and `test` it is the
    beginning of the i-th sequence.
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
        self.sequences = read_sequences(Path(root), mode)
        self.sequences.require(seq_len, f"seq_len {seq_len}")
        self.transform, self.mode, self.seq_len = transform, mode, seq_len
        self.seed, self.epoch = seed, epoch

    def __len__(self) -> int:
        return len(self.sequences)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        index, first = _position(index, len(self)), 0
        if self.mode == "train":
            rng = numpy_generator(self.seed, Stream.WINDOWS, self.epoch, index)
            index = rng.integers(len(self))
            first = rng.integers(0, self.sequences.lengths[index] - self.seq_len + 1)
        first += self.sequences.starts[index]
        window = slice(first, first + self.seq_len)
        frames = _transformed(self.transform, self.sequences.images.paths[window])
        return frames, torch.from_numpy(self.sequences.conditions[window].copy())


def _position(index: int, length: int) -> int:
    """Return an index from 0 on; IndexError ends an iteration."""
    if not -length <= index < length:
        raise IndexError(index)
    return index % length


def _transformed(transform: Callable, paths: Sequence[Path]) -> Tensor:
    return torch.stack([transform(open_image(path)) for path in paths])
