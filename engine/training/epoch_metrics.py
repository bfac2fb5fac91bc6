"""What an epoch has summed up so far, on its way into a row of the log."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from core import distributed
from data.types import Batch

SKIPPED = "skipped"  # the metric that counts the steps without effect


@dataclass
class EpochMetrics:
    """Sums over the steps of the epoch that is being trained. Stored in resume points."""

    batches: int = 0
    frames: int = 0
    forced: float = 0.0  # teacher-forced share of each batch
    seconds: float = 0.0
    scheduled: dict[str, float] = field(default_factory=dict)  # of the latest step
    metrics: dict[str, Tensor] = field(default_factory=dict)  # on the device

    def add(self, batch: Batch, forced: list[bool], metrics: dict[str, Tensor]) -> None:
        """Count one step of all processes. Nothing is read off the device."""
        self.batches += 1
        B, T = batch.frames.shape[:2]
        self.frames += distributed.world_size() * B * T
        self.forced += sum(forced) / len(forced)
        values = list(metrics.values())
        before = [self.metrics.get(k, torch.zeros_like(value)) for k, value in metrics.items()]
        self.metrics = dict(zip(metrics, torch._foreach_add(values, before)))

    def row(self) -> dict[str, dict[str, float]]:
        """Return the figures of the epoch by group: the means over the steps with an effect."""
        sums = {name: float(value) for name, value in self.metrics.items()}
        skipped = sums.pop(SKIPPED)
        taken = self.batches - skipped
        means = {k: value / taken if taken else float("nan") for k, value in sums.items()}
        return {
            "train": means | {SKIPPED: skipped},
            "schedule": self.scheduled | {"teacher_forced": self.forced / self.batches},
            "system": {"seconds": self.seconds, "frames_per_second": self.frames / self.seconds},
        }

    def rescale(self, batches: int) -> None:
        """Count what was done as so many batches, of another size than it was done in."""
        ratio = batches / self.batches
        self.batches, self.forced = batches, self.forced * ratio
        self.metrics = {name: value * ratio for name, value in self.metrics.items()}

    def to(self, device: torch.device) -> "EpochMetrics":
        """Return the sums on a device."""
        moved = {name: value.to(device) for name, value in self.metrics.items()}
        return EpochMetrics(**(vars(self) | {"metrics": moved}))
