"""What all tasks have in common: a model with its data, to train, to validate and to test."""

import contextlib
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from torch import nn

from core.device import Compute
from core.errors import UserError
from core.randomness import Stream, torch_seed
from engine.checkpoints.checkpoint import Checkpoint
from engine.evaluation.ensemble import Ensemble
from engine.training.task import TrainedTask
from settings.resolve import Settings


class Task(TrainedTask):
    """A model with its data.

    A task of one's own has a `name`, which is also that of its settings (settings/models.py),
    builds its model, and answers what the Trainer asks (`TrainedTask`) and the methods below.
    docs/architecture.md shows how.
    """

    name: ClassVar[str]  # of --model

    def __init__(self, settings: Settings, model: nn.Module | None = None):
        """Build the model from the settings, unless it is given."""
        self.settings = settings
        if model is None:
            with seeded_weights(settings.seed):
                model = self.build_model(settings)
        self.model = model
        self.others: list[Task] = []  # whose models are averaged with this one in a test

    # ------------------------------------------------------------------- model

    @classmethod
    @abstractmethod
    def build_model(cls, settings: Settings) -> nn.Module:
        """Return a new model that keeps `engine.contract.Model`."""

    @classmethod
    @abstractmethod
    def stored_architecture(cls, checkpoint: Checkpoint) -> dict[str, Any]:
        """Return the settings that a checkpoint's weights fix.

        Raises UserError where the weights are not those of this task's model.
        """

    # -------------------------------------------------------------------- test

    @abstractmethod
    def test(self, checkpoint: Checkpoint, compute: Compute) -> None:
        """Roll the test out with the weights of a checkpoint, which the model has already.

        Writes what there is to write into `--save_root`.
        """

    def tested_model(self, compute: Compute) -> nn.Module:
        """Return the model to roll out, prepared: this one, or its mean with those of the others.

        The others hold models of the same kind; their data and settings are not asked.
        """
        models = [compute.prepare(task.model) for task in (self, *self.others)]
        return Ensemble(models).eval() if self.others else models[0]

    @classmethod
    def export_lab(cls, checkpoint: Checkpoint, path: str, *, overwrite: bool) -> None:
        """Write a checkpoint that other implementations of the lab load."""
        raise UserError(f"--export_lab is not for --model {cls.name}")


def check_shapes(checkpoint: Checkpoint, build: Any) -> None:
    """Raise UserError where the weights are not those of the model that `build` returns.

    Asked before one is built: a file of a few bytes may claim widths that take all memory.
    """
    with torch.device("meta"):
        expected = build().state_dict()
    weights = checkpoint.content["state_dict"]
    wrong = [f"no {name}" for name in expected if name not in weights]
    wrong += [f"{name} is not one of its weights" for name in weights if name not in expected]
    wrong += [
        f"{name} is {tuple(weights[name].shape)}, not {tuple(expected[name].shape)}"
        for name in expected.keys() & weights.keys()
        if weights[name].shape != expected[name].shape
    ]
    if wrong:
        raise UserError(f"{checkpoint.path} does not fit this model: {'; '.join(wrong[:3])}")


@contextlib.contextmanager
def seeded_weights(seed: int) -> Iterator[None]:
    """Draw initial weights from the seed and leave the global generator as it was.

    Weights are drawn on the CPU; the generators of GPUs are left alone, or each would be set up.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(torch_seed(seed, Stream.INITIAL_WEIGHTS))
        yield
