"""A training step: what it is given, and what it does on the device."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from core import distributed
from core.device import Compute
from data.types import Batch
from engine.training.epoch_metrics import SKIPPED
from engine.training.non_finite_guard import NonFiniteGuard
from engine.training.prediction_buffer import PredictionBuffer


class StepInputs(NamedTuple):
    """All that a step depends on besides what it changes, and the pattern of teacher forcing."""

    batch: Batch
    noise: Tensor  # (B, T - 1, *latent_shape)
    swapped: Tensor | None  # (B,) bool: windows that predict from another one's frame
    kl_beta: Tensor | float


@dataclass
class TrainingStep:
    """Forward, backward, clipping, guard, optimizer and buffer. The host waits for none of it.

    network runs the model, in several processes as one.
    """

    model: nn.Module
    network: nn.Module
    optimizer: torch.optim.Optimizer
    compute: Compute
    grad_clip_norm: float
    bptt: int
    prediction_buffer: PredictionBuffer | None = None
    guard: NonFiniteGuard = field(init=False)

    def __post_init__(self) -> None:
        self.guard = NonFiniteGuard(self.model, self.optimizer)

    def __call__(
        self, inputs: StepInputs, teacher_forcing: Sequence[bool], has_effect: bool = True
    ) -> dict[str, Tensor]:
        """Take a step; the metrics stay on the device.

        Where the loss or a gradient is not finite the step changes nothing, and the metrics are 0
        but for `skipped`. Nor does it change anything where `has_effect` is not set: such a step
        compiles what is to be compiled.
        """
        batch = inputs.batch
        buffer = self.prediction_buffer if batch.index is not None else None
        previous = None
        if buffer:
            previous = buffer.previous(batch, teacher_forcing, inputs.swapped)
        self.guard.remember()
        loss, metrics, predictions = self.forward(self.network, inputs, teacher_forcing, previous)
        self.optimizer.zero_grad()
        distributed.backward(loss)
        metrics = distributed.all_reduce_mean(metrics)
        norm = clip_grad_norm_(self.model.parameters(), self.grad_clip_norm).detach()
        finite = metrics["loss"].isfinite() & norm.isfinite()
        if not has_effect:
            finite = torch.zeros_like(finite)
        self.guard.step(finite, counted=has_effect)
        if buffer:
            buffer.keep(batch, predictions, finite)
        metrics = metrics | {"grad_norm": norm}
        values = torch.where(finite, torch.stack(list(metrics.values())), 0)
        return dict(zip(metrics, values.unbind())) | {SKIPPED: (~finite).float()}

    def forward(
        self,
        network: Callable,
        inputs: StepInputs,
        teacher_forcing: Sequence[bool],
        previous: Tensor | None,
    ) -> tuple[Tensor, dict[str, Tensor], Tensor | None]:
        """Return what the model returns of a batch, in the precision of the run."""
        with self.compute.autocast():
            return network(
                inputs.batch,
                teacher_forcing=teacher_forcing,
                kl_beta=inputs.kl_beta,
                noise=inputs.noise,
                bptt=self.bptt,
                previous=previous,
            )
