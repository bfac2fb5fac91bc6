"""The training windows of the dance: gathered by index, changed where flags say so, warped.

Dimensions: B windows, T frames, H×W frame size.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from core import distributed
from core.errors import UserError
from core.transfer import send
from data.augmentation.augmentation import Augmentation
from data.augmentation.reposing import ByChange, Pictures, Reposing
from data.augmentation.skeletons import fitted_poses
from data.dance import DanceData, check_holdout
from data.dance_files import Split
from data.placement import as_frames, frames_in, gather_windows, larger_by, place
from data.store.shards import Shards
from data.types import Batch
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
