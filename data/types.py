"""What passes between data and models: batches to train on, clips to roll out.

Dimensions: B batch, T frames, C colors, H×W frame size; `…` is whatever the model conditions on
(3×H×W for a pose image).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from data.warp import Warp


class Batch(NamedTuple):
    """Windows to train on, on the device of the model."""

    frames: Tensor  # (B, T, C, H, W) float32 in [0, 1]
    conditions: Tensor  # (B, T, …) float32
    index: Tensor | None = None  # (T, B) int64, which frames of the training set these are
    warp: Warp | None = None  # how they differ from the frames of the training set


@dataclass(frozen=True, eq=False)  # a clip equals itself alone
class Clip:
    """What is rolled out. `frames` may hold the context frames alone, as in a test set."""

    name: str
    frames: Tensor  # (n_past or T, C, H, W) uint8
    conditions: Tensor  # (T, …) uint8 pictures, or float32
    n_past: int = 1  # context frames; the others are to be predicted

    def __len__(self) -> int:
        return len(self.conditions)

    @property
    def has_truth(self) -> bool:
        """True where every frame is there, so that a prediction can be scored."""
        return len(self.frames) == len(self.conditions)


class TrainingData(Protocol):
    """What the loop trains on: an epoch is a pure function of its number.

    Data with an attribute `tried_ahead` that is False is not looked at before it is trained on: its
    epochs are no such function, or the steps on them are not the engine's.

    Data whose frames look otherwise in some epochs have an attribute `version` that is set before
    `batches` is called, 0: as in `frames`, and two methods: `version_in(epoch, progress)` for an
    epoch that begins at `progress` of training, in [0, 1], and `changed_frames(version, before)`,
    which frames differ from a version before, (n,), and how they look, (n, H, W, C) uint8, both
    where `frames` lies.
    """

    frames: Any  # (frames, H, W, C) uint8, what `Batch.index` counts: a tensor, or `Shards`

    def batches_in(self, epoch: int) -> int:
        """Return how many batches the epoch has."""

    def batches(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """Yield the batches of the epoch from number `first` on: of each, this process's part.

        Their order depends on (seed, epoch) alone.
        """


def to_float(values: Tensor) -> Tensor:
    """uint8 0…255 → float32 0…1; other values are taken as they are."""
    return values.float().div_(255.0) if values.dtype == torch.uint8 else values
