"""The dance data: frames with the pose image of each, as training windows and as clips.

Layout on disk: docs/data.md. Dimensions: T frames, H×W frame size.
"""

import hashlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from core import distributed
from core.errors import UserError
from core.transfer import send
from data.augmentation.augmentation import Augmentation
from data.augmentation.reposing import ByChange, Pictures, Reposing
from data.augmentation.skeletons import fitted_poses
from data.dance_files import Split, check_root, list_split, read_cuts
from data.placement import (
    as_frames,
    as_images,
    frames_in,
    frames_of,
    gather_windows,
    larger_by,
    place,
)
from data.store.images import numbered_folders
from data.store.picture_files import PictureFiles
from data.store.remote import RemotePath, as_path
from data.store.shards import Shards, spread
from data.types import Batch, Clip
from data.warp import median_background
from data.windows import (
    Recording,
    data_fraction,
    epoch_starts,
    fixed_starts,
    split_into_recordings,
    truncate,
)

BACKGROUND_FRAMES = 300  # that the background of larger pictures is the median of


class DanceData:
    """A dance data set. Nothing is read before it is asked for, and nothing twice.

    `settings` give the place (`DR`, `GT`), the frame size, the cache, and what is trained on,
    held out and validated on. Raises UserError where the data are not as docs/data.md says.
    """

    def __init__(self, settings):
        self.settings = settings

    @cached_property
    def root(self) -> Path | RemotePath:
        return as_path(self.settings.DR)

    @cached_property
    def train(self) -> Split:
        return list_split(self.root, "train")

    @cached_property
    def val(self) -> Split:
        return list_split(self.root, "val")

    @cached_property
    def cuts(self) -> list[int]:
        return read_cuts(self.root)

    def digest(self) -> str:
        """Return what tells one training set from another: a digest of names, sizes and cuts."""
        contents = [self.train.images.content, self.train.poses.content]
        return hashlib.sha256(str([self.cuts, *contents]).encode()).hexdigest()[:16]

    def training_frames(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Return (frames, poses) of the training split, or None where there is none to look in.

        Without the holdout. Of a set that is larger than a shard, as much as that, spread over
        all of it.
        """
        if not (self.root / "train").is_dir():
            return None
        keep = np.ones(len(self.train.numbers), bool)
        keep[self._holdout()] = False
        kept = spread(np.flatnonzero(keep), self.settings.frame_H, self.settings.frame_W)
        frames, poses = self.train.decoded(self.settings)
        return frames[kept], poses[kept]

    def validation_clips(self) -> dict[str, list[Clip]]:
        """Return the clips to validate on, by set: `holdout` first where there is one, `val`.

        `val` is cut into clips of `val_vi_len` frames; where no recording is that long, each is
        taken as it is.
        """
        settings, sets = self.settings, {}
        if settings.holdout is not None:
            check_holdout(self.train.numbers, settings.holdout)
            held = self._holdout()
            recordings = split_into_recordings(self.train.numbers[held], self.cuts)
            ranges = [(held.start + a, held.start + b) for a, b in recordings]
            sets["holdout"] = self._clips("holdout", self.train, ranges)
        if settings.holdout is None or (self.root / "val").exists():
            T = settings.val_vi_len
            recordings = split_into_recordings(self.val.numbers)
            long = [(s, s + T) for s in fixed_starts(recordings, T).tolist()]
            sets["val"] = self._clips("val", self.val, long or recordings)
        return sets

    def test_clips(self) -> list[Clip]:
        """Return the test sequences in the order of their numbers, with true frames where known.

        True frames are looked for in `--GT`, else in `test/test_gt`: K/N.png for every pose image
        (that of the first frame may be missing). A sequence without its folder is left unscored.
        """
        settings = self.settings
        check_root(self.root)
        test = self.root / "test"
        truth = as_path(settings.GT) if settings.GT else test / "test_gt"
        if settings.GT and not truth.is_dir():
            raise UserError(f"--GT {truth}: no such folder")
        sequences = numbered_folders(test / "test_label")
        for folder in (test / "test_img").iterdir() if (test / "test_img").is_dir() else ():
            if folder.name.isdecimal() and int(folder.name) not in sequences and folder.is_dir():
                raise UserError(
                    f"{folder} has no pose images in {test / 'test_label' / folder.name}: add "
                    "them, or remove the sequence"
                )
        return [
            self._test_clip(number, folder, test / "test_img" / folder.name, truth / folder.name)
            for number, folder in sequences.items()
        ]

    def _test_clip(self, number: int, folder: Path, images: Path, truth: Path) -> Clip:
        """Read the poses in `folder`, the first of `images`, and the frames of `truth`, if any."""
        poses = PictureFiles.in_folder(folder)
        if len(poses) < 2:
            raise UserError(f"{folder}: a sequence needs two pose images at least")
        if not images.is_dir():
            raise UserError(
                f"{folder} has no first frame in {images}: add it, or remove the sequence"
            )
        given = PictureFiles.in_folder(images)
        parts = [given.select(given.numbers[:1])]
        if truth.is_dir():
            known = PictureFiles.in_folder(truth)
            if len(missing := np.setdiff1d(poses.numbers[1:], known.numbers)):
                raise UserError(f"{truth} has no frame {missing[0]}.png to score against")
            parts.append(known.select(poses.numbers[1:]))
        frames = np.concatenate([frames_of(part, self.settings) for part in parts])
        conditions = frames_of(poses, self.settings)[:]
        return Clip(str(number), as_images(frames), as_images(conditions))

    def _clips(self, name: str, split: Split, ranges: list[Recording]) -> list[Clip]:
        """Return the frames from a to b as a clip, for every range (a, b) of two or more."""
        frames, poses = split.decoded(self.settings)
        clips = [
            Clip(f"{name}{k}", as_images(frames[a:b]), as_images(poses[a:b]))
            for k, (a, b) in enumerate(r for r in ranges if r[1] - r[0] >= 2)
        ]
        if not clips:
            raise UserError(f"{split.images.folder}: no two frames of {name} follow each other")
        return clips

    def _holdout(self) -> slice:
        """Return which of the training frames are held out."""
        holdout = self.settings.holdout
        first, last = np.searchsorted(self.train.numbers, holdout).tolist() if holdout else (0, 0)
        return slice(first, last)


class DanceWindows:
    """Training windows gathered by index from the decoded frames (`data.types.TrainingData`).

    Frames and poses lie on the host until `place` puts them on the device.
    """

    def __init__(self, settings, device: torch.device, data: DanceData | None = None):
        """data: where the frames are listed already."""
        data = data or DanceData(settings)
        train = data.train
        self.settings = settings
        self.device = device
        self.global_batch_size = distributed.world_size() * settings.batch_size
        check_holdout(train.numbers, settings.holdout)
        self.recordings = split_into_recordings(train.numbers, data.cuts, settings.holdout)
        for epoch in {0, settings.num_epoch - 1}:
            self._check_length(epoch)
        # (frames, H, W, 3) uint8 each
        self.frames, self.poses = map(as_frames, train.decoded(settings))
        self.augmentation: Augmentation | None = None
        self.reposing: Reposing | None = None
        self.version = 0  # of the frames
        self.larger: Tensor | Shards | None = None
        self.larger_background: Tensor | None = None
        if settings.augment:
            training = np.concatenate([np.arange(a, b) for a, b in self.recordings])
            self.augmentation = Augmentation(
                self.frames, self.poses, training, settings.seed, settings.flip_prob
            )
            rates = ByChange(settings.zoom_prob, settings.limb_rotation_prob, settings.limb_dropout)
            if any(rates):
                margins = self.augmentation.margins
                fitted = fitted_poses(train.poses, settings)
                self.reposing = Reposing(rates, settings.seed, self.recordings, fitted, margins)
                if rates.zoom:
                    self._open_larger(train, training)

    def _open_larger(self, train: Split, training: np.ndarray) -> None:
        """Find the frames in a larger size, if there are any: who is zoomed stays sharp."""
        settings = self.settings
        if (factor := larger_by(train.images, settings)) == 1:
            return
        size = factor * settings.frame_H, factor * settings.frame_W
        larger, poses = (frames_in(x, *size, settings) for x in (train.images, train.poses))
        some = training[:: max(1, len(training) // BACKGROUND_FRAMES)]
        background = torch.from_numpy(median_background(larger[some], poses[some]) / 255)
        self.larger, self.larger_background = as_frames(larger), background.permute(2, 0, 1)

    def place(self) -> "DanceWindows":
        """Put all frames on the device where there is room; all processes call it at once."""
        larger = [] if self.larger is None else [self.larger]
        self.frames, self.poses, *larger = place((self.frames, self.poses, *larger), self.device)
        if larger:
            (self.larger,) = larger
        return self

    def _pictures(self) -> Pictures:
        backgrounds = self.augmentation.background, self.larger_background
        near, far = (x if x is None else send(x, self.device) for x in backgrounds)
        return Pictures(self.frames, self.poses, near, self.larger, far)

    def version_in(self, epoch: int, progress: float) -> int:
        """Return the version of the frames in an epoch that begins at `progress` of training."""
        return self.reposing.version_in(epoch, progress) if self.reposing else 0

    def changed_frames(self, version: int, before: int) -> tuple[Tensor, Tensor]:
        """Return which frames look otherwise than in the version `before`, and how.

        No frame where no flags change any: those of a run resumed without them are not known.
        """
        if self.reposing is None:
            none = torch.empty(0, dtype=torch.int64, device=self.frames.device)
            return none, self.frames[none]
        return self.reposing.changed_frames(version, before, self._pictures())

    def recordings_in(self, epoch: int) -> list[Recording]:
        """Return the part of the recordings that `--partial` and `--fast_train` leave."""
        frames = sum(b - a for a, b in self.recordings)
        return truncate(self.recordings, int(frames * data_fraction(self.settings, epoch)))

    def windows_in(self, epoch: int) -> int:
        """Return how many windows the epoch has: ⌊frames / T⌋, or fewer with fixed ones."""
        recordings, T = self.recordings_in(epoch), self.settings.train_vi_len
        if self.settings.fixed_windows:
            return len(fixed_starts(recordings, T))
        if not any(b - a >= T for a, b in recordings):
            return 0
        return sum(b - a for a, b in recordings) // T

    def batches_in(self, epoch: int) -> int:
        """Return how many whole batches, each of all processes together, the epoch has."""
        return self.windows_in(epoch) // self.global_batch_size

    def batches(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """Yield the whole batches of the epoch from number `first` on: this process's part of each.

        The order depends on (seed, epoch) alone. The parts of all processes, joined, are what one
        process with the same global batch gets.
        """
        settings = self.settings
        starts = epoch_starts(
            self.recordings_in(epoch),
            settings.train_vi_len,
            self.windows_in(epoch),
            fixed=settings.fixed_windows,
            seed=settings.seed,
            epoch=epoch,
        )
        steps = torch.arange(settings.train_vi_len, device=self.frames.device)
        windows, starts = starts, send(torch.from_numpy(starts), self.frames.device)
        batches = starts.split(self.global_batch_size)
        changes = self.reposing is not None and self.version
        reposed = self.reposing.reposed(self.version, self._pictures()) if changes else None
        for number in range(first, self.batches_in(epoch)):
            own = distributed.local_shard(batches[number])
            index = steps[:, None] + own  # (T, B): time leads, as the model works
            frames = gather_windows(self.frames, index, self.device)
            batch = Batch(frames, gather_windows(self.poses, index, self.device), index)
            if self.augmentation is not None:
                begin = number * self.global_batch_size
                known = windows[begin : begin + self.global_batch_size]
                batch = reposed.put_into(batch) if reposed else batch
                margins = reposed.margins if reposed else None
                batch = self.augmentation.apply(batch, known, epoch, number, margins)
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
