"""What the engine asks of a model, and the batches and clips that pass between them.

Dimensions: B batch, T frames, C colours, H×W frame size; `…` is whatever the model conditions on
(3×H×W for a pose image).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from engine.moving import Move


class Batch(NamedTuple):
    """Windows to train on, on the device of the model."""

    frames: Tensor  # (B, T, C, H, W) float32 in [0, 1]
    conditions: Tensor  # (B, T, …) float32
    index: Tensor | None = None  # (T, B) int64, which frames of the training set these are
    move: Move | None = None  # how they were moved from where the training set has them


@dataclass(frozen=True)
class Clip:
    """One sequence to roll out. `frames` may hold the known frames alone, as in a test set."""

    name: str
    frames: Tensor  # (n_past or T, C, H, W) uint8
    conditions: Tensor  # (T, …) uint8 pictures, or float32
    n_past: int = 1  # known frames; the others are to be predicted

    def __len__(self) -> int:
        return len(self.conditions)

    @property
    def has_truth(self) -> bool:
        """True where every frame is known, so that a prediction can be scored."""
        return len(self.frames) == len(self.conditions)


class Model(Protocol):
    """A conditional video model. All state travels through arguments and return values."""

    latent_shape: tuple[int, ...]

    def loss(
        self,
        frames: Tensor,
        conditions: Tensor,
        *,
        teacher_forcing: Sequence[bool],
        kl_beta: Tensor | float,
        noise: Tensor,
        bptt: int,
        previous: Tensor | None,
    ) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """Return the loss of a batch, its metrics, and its predictions (B, T − 1, C, H, W).

        Metrics are loss, mse, kl and elbo, as scalars; they and the predictions are detached.
        previous (B, T − 1, C, H, W), where given, are the frames to draw from.
        """

    def encode_conditions(self, conditions: Tensor) -> Tensor:
        """Encode (B, T, …) once for a whole roll-out; the result is (B, T, …) too."""

    def initial_state(self, first_frames: Tensor) -> Any:
        """Return the state before the first step from the frames (B, C, H, W)."""

    def observe(
        self, frame: Tensor, condition: Tensor, state: Any, noise: Tensor, known: Tensor
    ) -> Any:
        """Return the state after a step whose next frame is known, (B, C, H, W)."""

    def predict(
        self,
        frame: Tensor,
        condition: Tensor,
        state: Any,
        noise: Tensor,
        truth: Tensor | None = None,
    ) -> tuple[Tensor, Any]:
        """Return the next frame and state; noise is (B, *latent_shape).

        The latent is the prior's, or that of the posterior where the true next frame is given.
        """


class TrainingData(Protocol):
    """What the loop trains on: an epoch is a pure function of its number."""

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
