"""A training run: the model, its optimizer and its counters, which is all a checkpoint holds."""

import math
from argparse import Namespace
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import clip_grad_norm_

from core import distributed
from core.device import Compute
from core.errors import UserError
from core.randomness import Stream, normal, numpy_generator
from data.types import Batch, TrainingData
from engine.checkpoints import checkpoint
from engine.training.guard import NonFiniteGuard
from engine.training.optimizers import load_state, make_optimizer
from engine.training.prediction_buffer import PredictionBuffer
from engine.training.schedules import (
    kl_beta,
    learning_rate,
    learning_rate_shape,
    teacher_forcing_ratio,
)
from settings.resolve import as_plain, global_batch_size

BN_STATS_FRAMES = 1024  # from which the running statistics of BatchNorm are taken anew


@dataclass
class EpochMetrics:
    """What the epoch that is being trained has summed up so far."""

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
        self.metrics = {k: self.metrics.get(k, 0) + value for k, value in metrics.items()}

    def means(self) -> dict[str, float]:
        """Return the means over the steps that were not skipped, and the rest of a log row."""
        sums = {name: float(value) for name, value in self.metrics.items()}
        skipped = sums.pop("skipped")
        taken = self.batches - skipped
        means = {k: value / taken if taken else float("nan") for k, value in sums.items()}
        means |= self.scheduled | {"skipped": skipped, "teacher_forced": self.forced / self.batches}
        return means | {"seconds": self.seconds, "frames_per_second": self.frames / self.seconds}


class Run:
    """Takes training steps and turns into a checkpoint and back.

    `epoch` is the epoch to train, `so_far` what of it is done, and `step` the number of steps
    taken; with the settings they determine every schedule and every random draw.
    """

    def __init__(self, model: nn.Module, settings: Namespace, compute: Compute):
        distributed.synchronize_batch_norm(model)
        self.model = compute.prepare(model)
        self.settings = settings
        self.compute = compute
        self.optimizer = make_optimizer(model, settings)
        self.guard = NonFiniteGuard(model, self.optimizer)
        self.identity: dict = {}  # settings and data that make this run what it is
        self.epoch = 0
        self.so_far = EpochMetrics()
        self.step = 0
        self.seconds = 0.0  # spent training, which `--minutes` counts
        self.replay: PredictionBuffer | None = None
        self.best: dict | None = None  # psnr (dB) and epoch, and what they were scored on

    def train_step(
        self, batch: Batch, teacher_forcing: list[bool], kl_beta: Tensor | float
    ) -> dict[str, Tensor]:
        """Take one optimizer step; the metrics stay on the device.

        Of several processes each passes its part of the total batch; gradient and metrics are
        the means over all of it, and so all take the same step.

        Where the loss or a gradient is not finite the step changes nothing, and the metrics are 0
        but for `skipped`.
        """
        replay = self.replay if batch.index is not None else None
        previous = replay.previous(batch, teacher_forcing, self._stray(batch)) if replay else None
        self.guard.remember()
        loss, metrics, predictions = self._loss(batch, teacher_forcing, kl_beta, previous)
        self.optimizer.zero_grad()
        loss.backward()
        metrics = distributed.all_reduce_mean(self.model.parameters(), metrics)
        norm = clip_grad_norm_(self.model.parameters(), self.settings.max_norm).detach()
        finite = metrics["loss"].isfinite() & norm.isfinite()
        self.guard.step(finite)
        if replay:
            replay.keep(batch, predictions, finite)
        self.step += 1
        metrics = metrics | {"grad_norm": norm}
        metrics = {name: torch.where(finite, value, 0) for name, value in metrics.items()}
        return metrics | {"skipped": (~finite).float()}

    def _loss(
        self,
        batch: Batch,
        teacher_forcing: list[bool],
        kl_beta: Tensor | float,
        previous: Tensor | None,
    ) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        with self.compute.autocast():
            return self.model.loss(
                batch.frames,
                batch.conditions,
                teacher_forcing=teacher_forcing,
                kl_beta=kl_beta,
                noise=self._posterior_noise(batch),
                bptt=self.settings.bptt,
                previous=previous,
            )

    @torch.no_grad()
    def recompute_bn_stats(self, data: TrainingData) -> None:
        """Take BatchNorm's running statistics anew, from the epoch's first batches.

        Training keeps a mean over its latest steps, by the weights of each. Before a BatchNorm the
        loss does not see where the mean of a channel is, so that it wanders from step to step,
        fast at a high rate and in bf16, and a mean of the past is far from that of now. Training
        itself uses neither, so it goes on as if this had not been called.
        """
        layers = [layer for layer in self.model.modules() if isinstance(layer, _BatchNorm)]
        if not layers:
            return
        before = [(layer.momentum, layer.num_batches_tracked.clone()) for layer in layers]
        self.guard.remember()
        for layer in layers:
            layer.reset_running_stats()
            layer.momentum = None  # a plain mean over the batches
        seen = 0
        with torch.compiler.set_stance("force_eager"):  # not worth compiling once more
            for number, batch in enumerate(data.batches(self.epoch)):
                B, T = batch.frames.shape[:2]
                true = batch.frames[:, :-1] if self.replay else None
                self._loss(batch, self.teacher_forcing(number, T - 1), 0.0, previous=true)
                seen += distributed.world_size() * B * T
                if seen >= BN_STATS_FRAMES:
                    break
        statistics = [x for layer in layers for x in (layer.running_mean, layer.running_var)]
        self.guard.put_back_unless(torch.stack([x.isfinite().all() for x in statistics]).all())
        for layer, (momentum, batches) in zip(layers, before):
            layer.momentum = momentum
            layer.num_batches_tracked.copy_(batches)

    def _posterior_noise(self, batch: Batch) -> Tensor:
        B, T = batch.frames.shape[:2]
        first = distributed.rank() * B
        counters = [(self.step, first + sample) for sample in range(B)]
        shape = (T - 1, *self.model.latent_shape)
        return normal(shape, self.settings.seed, Stream.POSTERIOR, counters, self.compute.device)

    def _stray(self, batch: Batch) -> Tensor:
        """Toss for the windows that draw from another one's frame (`--stray`): (B,) bool."""
        rng = numpy_generator(self.settings.seed, Stream.STRAY, self.step)
        total = distributed.world_size() * batch.index.shape[1]
        chosen = distributed.local_shard(rng.random(total) < self.settings.stray)
        return torch.from_numpy(chosen).to(batch.index.device)

    def teacher_forcing(self, batch_index: int, steps: int) -> list[bool]:
        """Toss for the steps of a batch: True draws from the true frame (`--tfr_coin`)."""
        ratio = teacher_forcing_ratio(self.settings, self.fractional_epoch)
        per_epoch = self.settings.tfr_coin == "epoch"
        counters = (self.epoch,) if per_epoch else (self.epoch, batch_index)
        rng = numpy_generator(self.settings.seed, Stream.TEACHER_FORCING, *counters)
        if self.settings.tfr_coin == "step":
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
    def time_is_up(self) -> bool:
        """True where the schedules have come to their end."""
        return self.fractional_epoch >= self.settings.num_epoch

    @property
    def finished(self) -> bool:
        """True where they have, and no epoch is left half done."""
        return self.time_is_up and self.so_far.batches == 0

    def end_epoch(self) -> None:
        """Go on to the next epoch."""
        self.epoch += 1
        self.so_far = EpochMetrics()

    def schedule(self) -> dict[str, float]:
        """Set the learning rate of the next step; return it with β and teacher forcing ratio."""
        return {
            "beta": kl_beta(self.settings, self.fractional_epoch),
            "tfr": teacher_forcing_ratio(self.settings, self.fractional_epoch),
            "lr": self.set_learning_rate(),
        }

    def set_learning_rate(self) -> float:
        """Set the rate of the next step and return it."""
        warm = min(1.0, (self.step + 1) / (self.settings.lr_warmup + 1))
        lr = warm * learning_rate(self.settings, self.fractional_epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        return lr

    # ------------------------------------------------------------- checkpoints

    def state(self) -> dict:
        """Return the checkpoint: the lab's keys and ours.

        Without what is of no use after the epoch or is as large as the data (`resume_only_state`).
        """
        last_epoch = self.epoch - 1
        at = max(0, last_epoch) if self.settings.minutes is None else self.fractional_epoch
        return {
            "format": checkpoint.FORMAT,
            "state_dict": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "lr": learning_rate(self.settings, at),
            "tfr": teacher_forcing_ratio(self.settings, at),
            "last_epoch": last_epoch,
            "step": self.step,
            "seconds": self.seconds,
            "best": self.best,
            "settings": as_plain(self.settings),
            "identity": self.identity,
        }

    def resume_only_state(self) -> dict:
        """Return what an exact continuation needs besides: the begun epoch and the replay."""
        replay = {"replay": self.replay.frames} if self.replay else {}
        so_far = {"so_far": vars(self.so_far) | {}} if self.so_far.batches else {}
        return so_far | replay

    def resume_state(self) -> dict:
        """Return all that an exact continuation needs."""
        return self.state() | self.resume_only_state()

    def restore(self, content: dict, path: Path) -> None:
        """Go on from a checkpoint: exactly from one of ours, from a lab file as it allows.

        A lab file gives weights, epoch, learning rate and teacher forcing ratio. The schedules
        are set so that at its epoch they have its values; they go on from there.
        """
        if checkpoint.is_ours(content) and "optimizer" not in content:
            raise UserError(f"{path} holds weights alone; begin a run with --warm_start {path}")
        checkpoint.load_weights(self.model, content, path)
        restore = self._restore_ours if checkpoint.is_ours(content) else self._restore_lab
        try:
            restore(content)
        except (LookupError, TypeError, ValueError, OverflowError, RuntimeError) as error:
            raise UserError(
                f"{path}: an entry is not what a run stores ({error}); --warm_start takes the "
                "weights alone"
            ) from None

    def _restore_lab(self, content: dict) -> None:
        settings, last = self.settings, int(content.get("last_epoch", -1))
        lr, tfr = (float(content.get(name, 0)) for name in ("lr", "tfr"))
        if not (-1 <= last < 10**9 and 0 <= lr < 1e30 and abs(tfr) < 1e9):
            raise ValueError(f"epoch {last}, lr {lr}, tfr {tfr}")
        self.epoch = last + 1
        at = max(0, last) if settings.minutes is None else 0
        if (shape := learning_rate_shape(settings, at)) > 0 and "lr" in content:
            settings.lr = lr / shape
        if "tfr" in content:
            decays = max(0, at - settings.tfr_sde + 1)
            settings.tfr = max(0.0, tfr + settings.tfr_d_step * decays)

    def _restore_ours(self, content: dict) -> None:
        self._restore_optimizer(content)
        self.epoch, self.step = content["last_epoch"] + 1, content["step"]
        self.seconds = content.get("seconds", 0.0)
        self.best = content["best"]
        if "so_far" in content:
            self.so_far = EpochMetrics(**content["so_far"])
            device, metrics = self.compute.device, self.so_far.metrics
            self.so_far.metrics = {name: value.to(device) for name, value in metrics.items()}
            self._count_in_own_batches(content.get("identity", {}))
        if "replay" in content:
            self.replay = PredictionBuffer(content["replay"])

    def _count_in_own_batches(self, identity: dict) -> None:
        """Say of the begun epoch how many batches it has come, where they had another size.

        Fewer windows than a batch has are passed over for it.
        """
        before, own = (
            global_batch_size(identity),
            distributed.world_size() * self.settings.batch_size,
        )
        if before is not None and before != own:
            batches = math.ceil(self.so_far.batches * before / own)
            ratio = batches / self.so_far.batches
            self.so_far.batches, self.so_far.forced = batches, self.so_far.forced * ratio
            self.so_far.metrics = {k: v * ratio for k, v in self.so_far.metrics.items()}

    def _restore_optimizer(self, content: dict) -> None:
        """Take the optimizer's state, unless it is another optimizer's."""
        stored = content["settings"]["optim"]
        if stored != self.settings.optim:
            print(f"--optim {self.settings.optim} begins afresh: the checkpoint's was {stored}")
            return
        load_state(self.optimizer, content["optimizer"])
