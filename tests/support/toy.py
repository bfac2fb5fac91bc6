"""A task of one's own, as docs/architecture.md says to write it: a linear model on noise.

Nothing outside this file knows of it; `registered` makes it known to the scripts for a test.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import l1_loss, mse_loss

import tasks
from core.randomness import Stream, torch_seed
from data.types import Batch, Clip, to_float
from engine.checkpoints.results_folder import open_results_folder
from engine.evaluation.rollout import rollout_all
from engine.evaluation.scoring import copy_last, mean_psnr, score
from report.results import about_test, leave_results
from report.rollouts import from_prediction
from settings import models
from settings.flag_types import count
from settings.models import ModelSpec
from settings.parsing import Flag

SIZE, FRAMES, WINDOW = (3, 12, 12), 40, 3
PIXELS = 3 * 12 * 12


@dataclass(frozen=True)
class LinearConfig:
    toy_rank: int = 4


class Linear(nn.Module):
    """The next frame is a linear function of frame, condition and latent."""

    latent_shape = (2,)

    def __init__(self, config: LinearConfig):
        super().__init__()
        self.config = config
        self.narrow = nn.Linear(2 * PIXELS + 2, config.toy_rank)
        self.wide = nn.Linear(config.toy_rank, PIXELS)

    def forward(self, batch, *, teacher_forcing, kl_beta, noise, bptt, previous):
        before = batch.frames[:, :-1] if previous is None else previous
        predicted = self._next(before, batch.conditions[:, 1:], noise)
        loss = mse_loss(predicted, batch.frames[:, 1:])
        metrics = {"loss": loss, "l1": l1_loss(predicted, batch.frames[:, 1:])}
        metrics = {name: value.detach() for name, value in metrics.items()}
        return loss, metrics, predicted.detach()

    def encode_conditions(self, conditions):
        return conditions

    def initial_state(self, first_frames):
        return None

    def predict(self, frame, condition, state, noise, truth=None):
        return self._next(frame, condition, noise), state

    def _next(self, frames, conditions, noise):
        flat = torch.cat([frames.flatten(-3), conditions.flatten(-3), noise], dim=-1)
        return torch.sigmoid(self.wide(self.narrow(flat))).unflatten(-1, SIZE)


class Noise:
    """Windows of noise, an epoch a function of its number."""

    def __init__(self, settings, pixels: torch.Tensor):
        self.settings, self.pixels = settings, pixels
        self.frames = pixels[0].permute(0, 2, 3, 1).contiguous()

    def batches_in(self, epoch: int) -> int:
        return (FRAMES - WINDOW) // self.settings.batch_size

    def batches(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        seed = torch_seed(self.settings.seed, Stream.WINDOWS, epoch)
        order = torch.randperm(FRAMES - WINDOW, generator=torch.Generator().manual_seed(seed))
        for starts in order.split(self.settings.batch_size)[first : self.batches_in(epoch)]:
            index = torch.arange(WINDOW)[:, None] + starts
            yield Batch(*(to_float(x[index].transpose(0, 1)) for x in self.pixels), index)


class ToyTask(tasks.Task):
    name = "toy"

    def __init__(self, settings, model=None):
        super().__init__(settings, model)
        generator = torch.Generator().manual_seed(0)
        self.pixels = torch.randint(256, (2, FRAMES, *SIZE), generator=generator).byte()

    @classmethod
    def build_model(cls, settings):
        return Linear(LinearConfig(settings.toy_rank))

    @classmethod
    def stored_architecture(cls, checkpoint):
        return {"toy_rank": checkpoint.settings["toy_rank"]}

    def training_data(self, device):
        return Noise(self.settings, self.pixels)

    def data_digest(self):
        return "noise"

    def validation_sets(self):
        return {"noise": [Clip("0", self.pixels[0, :8], self.pixels[1, :8])]}

    def baselines(self, sets):
        return {"noise_copied_psnr": mean_psnr(sets["noise"], map(copy_last, sets["noise"]))}

    def test(self, checkpoint, compute):
        clips, folder = self.validation_sets()["noise"], Path(self.settings.save_root)
        open_results_folder(folder, checkpoint, overwrite=self.settings.overwrite)
        predictions = rollout_all(compute.prepare(self.model), clips, compute=compute)
        about = about_test(checkpoint.path, self.settings)
        rollouts = [from_prediction(c, p, score(c, p), about) for c, p in zip(clips, predictions)]
        leave_results(folder, rollouts, {}, page=True)


FLAGS = {"toy": [Flag("--toy_rank", count, 4, "width of the middle")]}


@contextlib.contextmanager
def registered() -> Iterator[None]:
    """Make the task known to the scripts within the block."""
    tasks.register(ToyTask, ModelSpec("toy", "a linear model", {"lab": {}}, FLAGS))
    try:
        yield
    finally:
        del tasks.TASKS["toy"], models.MODELS["toy"]
