"""Batches and clips as PyTorch's DataLoader, and what such a loader yields as the engine's data."""

import itertools
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from core.errors import UserError
from data.dance_windows import DanceWindows
from data.types import Batch, Clip, to_float
from lab.model import as_pixels


class ClipDataset(Dataset):
    """Clips as `(frames, poses)`, (T, 3, H, W) each in [0, 1]; of frames the first alone, or all.

    `Dataset_Dance` has such items too; these are decoded once.
    """

    def __init__(self, clips: Sequence[Clip], *, first_only: bool = False):
        self.clips, self.first_only = clips, first_only

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        clip = self.clips[index]
        frames = clip.frames[:1] if self.first_only else clip.frames
        return to_float(frames), to_float(clip.conditions)


def clip_loader(clips: Sequence[Clip], *, first_only: bool = False) -> DataLoader:
    """Return a loader of one clip at a time, (1, T, 3, H, W) frames and poses."""
    return DataLoader(ClipDataset(clips, first_only=first_only), batch_size=1)


class WindowDataset(IterableDataset):
    """The batches of an epoch as `(frames, poses)`, (B, T, 3, H, W) each in [0, 1]."""

    def __init__(self, windows: DanceWindows, epoch: int):
        self.windows, self.epoch = windows, epoch

    def __len__(self) -> int:
        return self.windows.batches_in(self.epoch)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for batch in self.windows.batches(self.epoch):
            yield batch.frames, batch.conditions


def window_loader(windows: DanceWindows, epoch: int) -> DataLoader:
    """Return a loader of the batches of an epoch, on the device and augmented as `args` say."""
    return DataLoader(WindowDataset(windows, epoch), batch_size=None)


class LoaderData:
    """What `model.train_dataloader()` yields, as `data.types.TrainingData`.

    windows: those that the loader is made of, unless it is someone's own.
    """

    def __init__(self, model, device: torch.device, windows: DanceWindows | None):
        self.model, self.device, self.windows = model, device, windows
        self.frames = () if windows is None else windows.frames
        # What someone's own yields, it may yield once, and a step of their own asks what it likes.
        self.tried_ahead = windows is not None and not model.has_own("training_one_step")
        self.length = 0  # of a loader that does not know its own
        if windows is None:
            loader = model.train_dataloader()
            self.length = len(loader) if hasattr(loader, "__len__") else 0

    def batches_in(self, epoch: int) -> int:
        return self.length if self.windows is None else self.windows.batches_in(epoch)

    def batches(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """Yield the batches of the model's current epoch from number `first` on."""
        batch, whose = None, f"train_dataloader() of {type(self.model).__name__}"
        for batch in itertools.islice(self.model.train_dataloader(), first, None):
            if not isinstance(batch, Sequence | Tensor) or len(batch) != 2:
                raise UserError(f"{whose} is to yield pairs, frames and poses")
            frames, poses = batch
            yield Batch(frames.to(self.device), poses.to(self.device))
        if batch is None and first == 0:
            raise UserError(f"{whose} has no batch in epoch {epoch}")


def clips_of_loader(loader: DataLoader) -> list[Clip]:
    """Return every (T, 3, H, W) pair of a loader of (B, T, 3, H, W) frames and poses as a clip."""
    pairs = (pair for frames, poses in loader for pair in zip(frames, poses))
    clips = [
        Clip(f"val{k}", as_pixels(frames), as_pixels(poses))
        for k, (frames, poses) in enumerate(pairs)
    ]
    if not clips:
        raise UserError("val_dataloader() has no clip")
    return clips
