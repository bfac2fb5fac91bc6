"""What the Trainer asks of a task: a model with its data."""

import dataclasses
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import nn

from data.types import Clip, TrainingData
from engine.checkpoints.checkpoint import Checkpoint
from settings.resolve import Settings


class TrainedTask(ABC):
    """A model with its data, as the Trainer holds it."""

    settings: Settings
    model: nn.Module  # keeps `engine.contract.Model`

    def architecture(self) -> dict[str, Any]:
        """Return the settings that the model's weights fix, by name."""
        return dataclasses.asdict(self.model.config)

    def on_load_checkpoint(self, checkpoint: Checkpoint) -> None:  # noqa: B027, may stay empty
        """Find out what a loaded checkpoint leaves open. Most leave nothing."""

    @abstractmethod
    def training_data(self, device: torch.device) -> TrainingData:
        """Return what to train on. All processes call this at once.

        Who writes files for the others does so in `core.distributed.local_main_process_first`.
        """

    @abstractmethod
    def data_digest(self) -> str:
        """Return what tells one training set from another."""

    @abstractmethod
    def validation_sets(self) -> dict[str, list[Clip]]:
        """Return the clips to validate on by name; the first set chooses `best.ckpt`."""

    @abstractmethod
    def baselines(self, sets: dict[str, list[Clip]]) -> dict[str, float]:
        """Print what no model at all would score, and return columns of it for the log."""

    def overview(self, data: TrainingData) -> dict[str, str]:
        """Return lines of its own for what is said before training, by what they are about."""
        return {}
