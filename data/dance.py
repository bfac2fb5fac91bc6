"""The dance data: `Dataset_Dance` as the lab uses it, and the cached windows and clips of ours.

Layout on disk: README, "Data". Dimensions: T frames, H×W frame size.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from core import distributed
from core.errors import UserError
from data.augmentation import Augmentation
from data.gather import as_images, decode, gather, place
from data.store.images import numbered_folders, numbered_images, open_image
from data.store.prepared import PreparedPictures, is_prepared, names_and_sizes
from data.store.remote import as_path, is_there, open_binary
from data.store.shards import spread
from data.types import Batch, Clip
from data.windows import (
    Segment,
    data_fraction,
    epoch_starts,
    fixed_starts,
    segments,
    truncate,
)

LONGEST_CUTS = 1 << 24  # bytes of cuts.txt


@dataclass(frozen=True)
class PairedFiles:
    """Frames and their pose images, in the order of their numbers."""

    numbers: np.ndarray  # (frames,) int
    images: Sequence[Path]
    poses: Sequence[Path]


def paired_files(root: Path, split: str) -> PairedFiles:
    """List `split` (train or val). Raises UserError for a frame without its pose image."""
    if not root.is_dir():
        raise UserError(f"--DR {root}: no such folder")
    folders = [root / split / f"{split}_{kind}" for kind in ("img", "label")]
    if is_prepared(folders[0]):
        images, poses = map(PreparedPictures, folders)
        return PairedFiles(images.numbers, images, poses)
    images, poses = map(numbered_images, folders)
    check_pairs(images, poses, folders[1])
    return PairedFiles(np.array(list(images)), list(images.values()), [poses[n] for n in images])


def check_pairs(images: dict[int, Path], poses: dict[int, Path], folder: Path) -> None:
    """Raise UserError for a frame without a pose image, which should be in `folder`."""
    for number, path in images.items():
        if number not in poses:
            raise UserError(f"{path} has no pose image in {folder}")


def read_cuts(root: Path) -> list[int]:
    """Return the frame numbers of `train/cuts.txt`, which begin a new recording ([] without)."""
    file = root / "train" / "cuts.txt"
    if not is_there(file):
        return []
    try:
        with open_binary(file) as opened:
            if len(text := opened.read(LONGEST_CUTS + 1)) > LONGEST_CUTS:
                raise ValueError(f"more than {LONGEST_CUTS} bytes")
        words = text.decode().split()
        if bad := [word for word in words if not re.fullmatch(r"\d{1,9}", word)]:
            raise ValueError(f"not {bad[0][:20]!r}")
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: expected one frame number a line ({error})") from None
    return [int(word) for word in words]


class Dataset_Dance(Dataset):
    """The lab's dataset: item i holds the i-th window of `video_len` frames, laid end to end.

    Items are `(frames, poses)`, each (video_len, 3, H, W) as `transform` returns them; it gets
    PIL images in RGB. `partial` keeps the first part of the frames. Pictures are decoded on every
    access; training here goes through `DanceWindows` and its cache instead.
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
        self.files = paired_files(as_path(str(root)), mode)
        self.transform = transform
        self.video_len = video_len
        self.windows = int(len(self.files.images) * partial) // video_len

    def __len__(self) -> int:
        return self.windows

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        start = index % len(self) * self.video_len
        window = slice(start, start + self.video_len)
        frames = [self.transform(open_image(path)) for path in self.files.images[window]]
        poses = [self.transform(open_image(path)) for path in self.files.poses[window]]
        return torch.stack(frames), torch.stack(poses)


class DanceWindows:
    """Training windows gathered by index from the decoded frames (`data.types.TrainingData`).

    Frames live on the device where they take at most a quarter of its free memory.
    """

    def __init__(self, settings, device: torch.device):
        root = as_path(settings.DR)
        self.settings = settings
        self.device = device
        self.global_batch_size = distributed.world_size() * settings.batch_size
        files = paired_files(root, "train")
        check_holdout(files.numbers, settings.holdout)
        self.segments = segments(files.numbers, read_cuts(root), settings.holdout)
        for epoch in {0, settings.num_epoch - 1}:
            self._check_length(epoch)
        self.frames, self.poses = (
            place(decode(settings, paths), device) for paths in (files.images, files.poses)
        )  # (frames, H, W, 3) uint8 each
        self.augmentation = None
        if settings.augment:
            training = np.concatenate([np.arange(a, b) for a, b in self.segments])
            self.augmentation = Augmentation(
                self.frames, self.poses, training, settings.seed, settings.flip_prob
            )

    def segments_in(self, epoch: int) -> list[Segment]:
        """Return the part of the recordings that `--partial` and `--fast_train` leave."""
        frames = sum(b - a for a, b in self.segments)
        return truncate(self.segments, int(frames * data_fraction(self.settings, epoch)))

    def windows_in(self, epoch: int) -> int:
        """Return how many windows the epoch has: ⌊frames / T⌋, or fewer with fixed ones."""
        parts, T = self.segments_in(epoch), self.settings.train_vi_len
        if self.settings.fixed_windows:
            return len(fixed_starts(parts, T))
        if not any(b - a >= T for a, b in parts):
            return 0
        return sum(b - a for a, b in parts) // T

    def batches_in(self, epoch: int) -> int:
        """Return how many whole batches, each of all processes together, the epoch has."""
        return self.windows_in(epoch) // self.global_batch_size

    def batches(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """Yield the whole batches of the epoch from number `first` on: this process's part of each.

        The order depends on (seed, epoch) alone. The parts of all processes, joined, are what one
        process with the same total batch gets.
        """
        settings = self.settings
        starts = epoch_starts(
            self.segments_in(epoch),
            settings.train_vi_len,
            self.windows_in(epoch),
            fixed=settings.fixed_windows,
            seed=settings.seed,
            epoch=epoch,
        )
        steps = torch.arange(settings.train_vi_len, device=self.frames.device)
        starts = torch.from_numpy(starts).to(self.frames.device)
        batches = starts.split(self.global_batch_size)
        for number in range(first, self.batches_in(epoch)):
            own = distributed.local_shard(batches[number])
            index = steps[:, None] + own  # (T, B): time leads, as the model works
            frames, poses = (gather(x, index, self.device) for x in (self.frames, self.poses))
            batch = Batch(frames, poses, index)
            if self.augmentation is not None:
                batch = self.augmentation.apply(batch, epoch, number)
            yield batch

    def _check_length(self, epoch: int) -> None:
        windows, processes = self.windows_in(epoch), distributed.world_size()
        if windows < self.global_batch_size:
            times = f" × {processes} processes" if processes > 1 else ""
            raise UserError(
                f"--batch_size {self.settings.batch_size}{times} is more than the {windows} "
                f"windows of {self.settings.train_vi_len} frames in epoch {epoch}; lower "
                "--batch_size or --train_vi_len, or use more data (--partial, --fast_partial)"
            )


# ------------------------------------------------------------ sequences to roll out


def validation_clips(settings) -> dict[str, list[Clip]]:
    """Return the sequences to validate on, by set: `holdout` first where there is one, `val`.

    `val` is cut into sequences of `val_vi_len` frames; where none is that long, recordings are
    taken as they are.
    """
    root, sets = as_path(settings.DR), {}
    if settings.holdout is not None:
        train = paired_files(root, "train")
        check_holdout(train.numbers, settings.holdout)
        first, last = np.searchsorted(train.numbers, settings.holdout).tolist()
        held = PairedFiles(
            train.numbers[first:last], train.images[first:last], train.poses[first:last]
        )
        frames, poses = (
            decode(settings, paths)[first:last] for paths in (train.images, train.poses)
        )
        parts = segments(held.numbers, read_cuts(root))
        sets["holdout"] = _clips("holdout", held, frames, poses, parts)
    if settings.holdout is None or (root / "val").exists():
        val = paired_files(root, "val")
        frames, poses = (decode(settings, paths) for paths in (val.images, val.poses))
        T = settings.val_vi_len
        parts = segments(val.numbers)
        long = [(s, s + T) for s in fixed_starts(parts, T).tolist()]
        sets["val"] = _clips("val", val, frames, poses, long or parts)
    return sets


def check_holdout(numbers: np.ndarray, holdout: tuple[int, int] | None) -> None:
    """Raise UserError where fewer than two training frames are held out."""
    if holdout is None:
        return
    held = int(np.sum((numbers >= holdout[0]) & (numbers < holdout[1])))
    if held < 2:
        raise UserError(
            f"--holdout {holdout[0]}:{holdout[1]} holds {held} of the training frames, which are "
            f"numbered {numbers[0]} to {numbers[-1]}; it needs two at least"
        )


def training_data_digest(settings) -> str:
    """Return what tells one training set from another: a digest of its names, sizes and cuts."""
    root = as_path(settings.DR)
    files = paired_files(root, "train")
    parts = [
        paths.content if isinstance(paths, PreparedPictures) else names_and_sizes(paths)
        for paths in (files.images, files.poses)
    ]
    return hashlib.sha256(str([read_cuts(root), *parts]).encode()).hexdigest()[:16]


def _clips(
    name: str, files: PairedFiles, frames: np.ndarray, poses: np.ndarray, parts: list[Segment]
) -> list[Clip]:
    clips = [
        Clip(f"{name}{k}", as_images(frames[a:b]), as_images(poses[a:b]))
        for k, (a, b) in enumerate(p for p in parts if p[1] - p[0] >= 2)
    ]
    if not clips:
        raise UserError(f"{files.images[0].parent}: no two frames of {name} follow each other")
    return clips


def test_clips(settings) -> list[Clip]:
    """Return the test sequences in the order of their numbers, with true frames where known.

    True frames are looked for in `--GT`, else in `test/test_gt`: K/N.png for every pose image
    (that of the first frame may be missing). A sequence without its folder is left unscored.
    """
    root = as_path(settings.DR)
    if not root.is_dir():
        raise UserError(f"--DR {settings.DR}: no such folder")
    test = root / "test"
    truth = as_path(settings.GT) if settings.GT else test / "test_gt"
    if settings.GT and not truth.is_dir():
        raise UserError(f"--GT {truth}: no such folder")
    clips = []
    for number, folder in numbered_folders(test / "test_label").items():
        poses = numbered_images(folder)
        if len(poses) < 2:
            raise UserError(f"{folder}: a sequence needs two pose images at least")
        given = next(iter(numbered_images(test / "test_img" / folder.name).values()))
        paths = [given]
        if (truth / folder.name).is_dir():
            known = numbered_images(truth / folder.name)
            for n in list(poses)[1:]:
                if n not in known:
                    raise UserError(f"{truth / folder.name} has no frame {n}.png to score against")
                paths.append(known[n])
        frames = decode(settings, paths[:1])[:]
        if len(paths) > 1:
            frames = np.concatenate([frames, decode(settings, paths[1:])])
        conditions = as_images(decode(settings, list(poses.values()))[:])
        clips.append(Clip(str(number), as_images(frames), conditions))
    return clips


def training_frames(settings) -> tuple[np.ndarray, np.ndarray] | None:
    """Return (frames, poses) of the training split, or None where there is none to look in.

    Of a set that is larger than a shard, as much as that, spread over all of it.
    """
    root = as_path(settings.DR)
    if not (root / "train").is_dir():
        return None
    files = paired_files(root, "train")
    keep = np.ones(len(files.numbers), bool)
    if settings.holdout is not None:
        keep[slice(*np.searchsorted(files.numbers, settings.holdout))] = False
    kept = spread(np.flatnonzero(keep), settings.frame_H, settings.frame_W)
    return tuple(decode(settings, paths)[kept] for paths in (files.images, files.poses))
