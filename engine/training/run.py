"""A training run: the model, its optimizer and its counters, which is all a checkpoint holds."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from core import distributed
from core.device import Compute
from core.randomness import Stream, normal, numpy_generator
from core.synced_norm import synchronize_batch_norm
from core.transfer import send
from data.types import Batch, TrainingData
from engine.checkpoints import checkpoint
from engine.checkpoints.checkpoint import Checkpoint
from engine.training.bn_stats import BN_STATS_FRAMES, has_batch_norm, recomputed_bn_stats
from engine.training.epoch_metrics import EpochMetrics
from engine.training.non_finite_guard import NonFiniteGuard
from engine.training.optimizers import make_optimizer, plain_state, set_rate, suit
from engine.training.prediction_buffer import PredictionBuffer
from engine.training.prepared_steps import PreparedSteps
from engine.training.restoring import restore
from engine.training.schedules import kl_beta, learning_rate, teacher_forcing_ratio
from engine.training.step import StepInputs, TrainingStep
from settings.resolve import Settings, as_plain


class Run:
    """Takes training steps and turns into a checkpoint and back.

    `epoch` is the epoch to train, `epoch_metrics` what of it is done, and `step` the number of
    steps taken; with the settings they determine every schedule and everything random.
    """

    def __init__(
        self,
        model: nn.Module,
        settings: Settings,
        compute: Compute,
        architecture: Callable[[], dict] = dict,
    ):
        """architecture returns the settings that the weights fix, for checkpoints."""
        synchronize_batch_norm(model)
        self.model = compute.prepare(model)
        self.network = distributed.data_parallel(self.model)  # what is trained
        self.settings = settings
        self.compute = compute
        self.architecture = architecture
        self.optimizer = make_optimizer(model, settings)
        self._begin_steps()
        self.initial_lr = settings.lr  # a lab checkpoint may set both, and stored runs keep them
        self.initial_tfr = settings.tfr
        self.fingerprint: dict = {}  # settings and data that make this run what it is
        self.epoch = 0
        self.epoch_metrics = EpochMetrics()
        self.frames_version = 0  # how the training frames look
        self.step = 0
        self.seconds = 0.0  # spent training, which `--minutes` counts
        self.epoch_began = 0.0  # seconds at the start of the epoch, the same in all processes
        self.threads: int | None = None  # of the run that is resumed
        self.best: dict | None = None  # psnr (dB) and epoch, and what they were scored on

    def move(self, compute: Compute) -> None:
        """Go on computing elsewhere, with what the optimizer knows."""
        self.compute, self.model = compute, compute.prepare(self.model)
        self.network = distributed.data_parallel(self.model)
        self.optimizer.load_state_dict(self.optimizer.state_dict())  # moves it to its weights
        suit(self.optimizer, compute.device)
        self._begin_steps(self.prediction_buffer)

    def use_optimizer(self, optimizer: torch.optim.Optimizer) -> None:
        """Go on with another optimizer of the same weights."""
        self.optimizer = optimizer
        self._begin_steps(self.prediction_buffer)

    def _begin_steps(self, buffer: PredictionBuffer | None = None) -> None:
        settings = self.settings
        self.training_step = TrainingStep(
            self.model,
            self.network,
            self.optimizer,
            self.compute,
            settings.grad_clip_norm,
            settings.bptt,
            buffer,
        )
        self.steps = PreparedSteps(self.training_step)

    # -------------------------------------------------------------------- step

    def train_step(
        self, batch: Batch, teacher_forcing: list[bool], kl_beta: Tensor | float
    ) -> dict[str, Tensor]:
        """Take one optimizer step; the metrics stay on the device.

        Of several processes each passes its shard of the global batch; gradient and metrics are
        the means over all of it, and so all take the same step.

        Where the loss or a gradient is not finite the step changes nothing, and the metrics are 0
        but for `skipped`.
        """
        metrics = self.steps(self._inputs(batch, kl_beta), teacher_forcing)
        self.step += 1
        return metrics

    def prepare_step(
        self, batch: Batch, teacher_forcing: list[bool], kl_beta: Tensor | float
    ) -> bool:
        """Compile and record what such a step needs; return whether that took any time."""
        inputs = partial(self._inputs, batch, kl_beta)
        return self.steps.prepare(batch, teacher_forcing, inputs)

    @property
    def guard(self) -> NonFiniteGuard:
        return self.training_step.guard

    @property
    def prediction_buffer(self) -> PredictionBuffer | None:
        return self.training_step.prediction_buffer

    @prediction_buffer.setter
    def prediction_buffer(self, buffer: PredictionBuffer | None) -> None:
        self.training_step.prediction_buffer = buffer
        self.steps = PreparedSteps(self.training_step)  # those of before work on another buffer

    @torch.no_grad()
    def recompute_bn_stats(self, data: TrainingData) -> None:
        """Take BatchNorm's running statistics anew, from the epoch's first batches."""
        if not has_batch_norm(self.model):
            return
        seen = 0
        with recomputed_bn_stats(self.model, self.guard), self.compute.uncompiled():
            for number, batch in enumerate(data.batches(self.epoch)):
                B, T = batch.frames.shape[:2]
                true = batch.frames[:, :-1] if self.prediction_buffer else None
                forced = self.teacher_forcing(number, T - 1)
                inputs = self._inputs(batch, 0.0)
                self.training_step.forward(self.model, inputs, forced, previous=true)
                seen += distributed.world_size() * B * T
                if seen >= BN_STATS_FRAMES:
                    break

    def _inputs(self, batch: Batch, kl_beta: Tensor | float) -> StepInputs:
        """Return what the next step is given: all of it is a function of (seed, step, sample)."""
        swaps = self.prediction_buffer is not None and batch.index is not None
        swapped = self._swapped_context(batch) if swaps else None
        return StepInputs(batch, self.posterior_noise(batch), swapped, kl_beta)

    def posterior_noise(self, batch: Batch) -> Tensor:
        """Return the noise of the next step for a batch: (B, T - 1, *latent_shape)."""
        B, T = batch.frames.shape[:2]
        first = distributed.rank() * B
        counters = [(self.step, first + sample) for sample in range(B)]
        shape = (T - 1, *self.model.latent_shape)
        return normal(shape, self.settings.seed, Stream.POSTERIOR, counters, self.compute.device)

    def _swapped_context(self, batch: Batch) -> Tensor:
        """Toss for the windows that predict from another one's frame: (B,) bool."""
        rng = numpy_generator(self.settings.seed, Stream.CONTEXT_SWAP, self.step)
        windows = distributed.world_size() * batch.index.shape[1]
        chosen = distributed.local_shard(rng.random(windows) < self.settings.context_swap)
        return send(torch.from_numpy(chosen), batch.index.device)

    # --------------------------------------------------------------- schedules

    def teacher_forcing(self, batch_index: int, steps: int) -> list[bool]:
        """Toss for the steps of a batch: True predicts from the true frame."""
        ratio = teacher_forcing_ratio(self.settings, self.fractional_epoch, self.initial_tfr)
        granularity = self.settings.tfr_granularity
        counters = (self.epoch,) if granularity == "epoch" else (self.epoch, batch_index)
        rng = numpy_generator(self.settings.seed, Stream.TEACHER_FORCING, *counters)
        if granularity == "step":
            return (rng.random(steps) < ratio).tolist()
        return [bool(rng.random() < ratio)] * steps

    @property
    def fractional_epoch(self) -> float:
        """Where the schedules stand, in epochs: with `--minutes` by the time spent training."""
        if self.settings.minutes is None:
            return self.epoch
        spent = self.seconds / (60 * self.settings.minutes)
        return self.settings.num_epoch * min(1.0, spent)

    @property
    def progress(self) -> float:
        """How much of training is done, in [0, 1], as the schedules count it."""
        return min(1.0, self.fractional_epoch / self.settings.num_epoch)

    @property
    def time_is_up(self) -> bool:
        """True where the schedules have come to their end."""
        return self.fractional_epoch >= self.settings.num_epoch

    @property
    def finished(self) -> bool:
        """True where they have, and no epoch is left half done."""
        return self.time_is_up and self.epoch_metrics.batches == 0

    @property
    def passed_quarter(self) -> bool:
        """True where a quarter of `--minutes` has passed since the epoch began."""
        if self.settings.minutes is None:
            return False
        quarter = 15 * self.settings.minutes  # seconds
        return self.seconds // quarter > self.epoch_began // quarter

    @property
    def epoch_is_long(self) -> bool:
        """True where the epoch takes so much of `--minutes` that it is not waited for."""
        return 8 * (self.seconds - self.epoch_began) > 60 * self.settings.minutes

    def end_epoch(self) -> None:
        """Go on to the next epoch."""
        self.epoch += 1
        self.epoch_began = self.seconds
        self.epoch_metrics = EpochMetrics()

    def schedule(self) -> dict[str, float]:
        """Set the learning rate of the next step; return it with β and teacher forcing ratio."""
        at = self.fractional_epoch
        return {
            "beta": kl_beta(self.settings, at),
            "tfr": teacher_forcing_ratio(self.settings, at, self.initial_tfr),
            "lr": self.set_learning_rate(),
        }

    def set_learning_rate(self, epoch: float | None = None) -> float:
        """Set the rate of the next step and return it; epoch: another one than that of the run."""
        warm = min(1.0, (self.step + 1) / (self.settings.lr_warmup + 1))
        at = self.fractional_epoch if epoch is None else epoch
        lr = warm * learning_rate(self.settings, at, self.initial_lr)
        set_rate(self.optimizer, lr)
        return lr

    # ------------------------------------------------------------- checkpoints

    def plain_settings(self) -> dict:
        """Return the settings as they are stored: with what the run found out since."""
        found = {"lr": self.initial_lr, "tfr": self.initial_tfr} | self.architecture()
        return as_plain(self.settings) | found

    def state(self) -> dict:
        """Return the checkpoint: the lab's keys and ours.

        Without what is of no use after the epoch or is as large as the data
        (`resume_only_state`).
        """
        last_epoch = self.epoch - 1
        at = max(0, last_epoch) if self.settings.minutes is None else self.fractional_epoch
        return {
            "format": checkpoint.FORMAT,
            "state_dict": self.model.state_dict(),
            "optimizer": plain_state(self.optimizer),
            "lr": learning_rate(self.settings, at, self.initial_lr),
            "tfr": min(1.0, teacher_forcing_ratio(self.settings, at, self.initial_tfr)),
            "last_epoch": last_epoch,
            "step": self.step,
            "seconds": self.seconds,
            "threads": torch.get_num_threads(),
            "best": self.best,
            "settings": self.plain_settings(),
            "fingerprint": self.fingerprint,
        }

    def resume_only_state(self) -> dict:
        """Return what an exact continuation needs besides: the begun epoch and the buffer."""
        buffer = self.prediction_buffer
        kept = {"prediction_buffer": buffer.frames} if buffer else {}
        kept |= {"frames_version": self.frames_version} if self.frames_version else {}
        begun = self.epoch_metrics.batches
        return ({"epoch_metrics": vars(self.epoch_metrics) | {}} if begun else {}) | kept

    def resume_state(self) -> dict:
        """Return all that an exact continuation needs."""
        return self.state() | self.resume_only_state()

    def restore(self, source: Checkpoint) -> None:
        """Go on from a checkpoint: exactly from one of ours, from a lab file as it allows."""
        restore(self, source)
        self.steps = PreparedSteps(self.training_step)  # those of before work on other memory
