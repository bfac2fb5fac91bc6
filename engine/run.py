"""A training run: the model, its optimizer and its counters, which is all a checkpoint holds."""

from argparse import Namespace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from engine import checkpoint
from engine.config import as_plain
from engine.contract import Batch
from engine.device import Compute
from engine.randomness import Stream, normal, numpy_generator
from engine.replay import Replay
from engine.schedules import kl_beta, learning_rate, learning_rate_shape, teacher_forcing_ratio


class Run:
    """Takes training steps and turns into a checkpoint and back.

    `epoch` is the next epoch to train and `step` the number of steps taken; with the settings
    they determine every schedule and every random draw.
    """

    def __init__(self, model: nn.Module, settings: Namespace, compute: Compute):
        self.model = compute.prepare(model)
        self.settings = settings
        self.compute = compute
        self.optimizer = make_optimizer(model, settings)
        self.epoch = 0
        self.step = 0
        self.seconds = 0.0  # spent training, which `--minutes` counts
        self.replay: Replay | None = None
        self.best: dict | None = None  # psnr (dB) and epoch, and what they were scored on

    def train_step(
        self, batch: Batch, teacher_forcing: list[bool], kl_beta: Tensor | float
    ) -> dict[str, Tensor]:
        """Take one optimizer step; the metrics stay on the device."""
        noise = self._posterior_noise(batch)
        replay = self.replay if batch.index is not None else None
        previous = replay.previous(batch, teacher_forcing) if replay else None
        with self.compute.autocast():
            loss, metrics, predictions = self.model.loss(
                batch.frames,
                batch.conditions,
                teacher_forcing=teacher_forcing,
                kl_beta=kl_beta,
                noise=noise,
                bptt=self.settings.bptt,
                previous=previous,
            )
        if replay:
            replay.keep(batch, predictions)
        self.optimizer.zero_grad()
        loss.backward()
        norm = clip_grad_norm_(self.model.parameters(), self.settings.max_norm)
        self.optimizer.step()
        self.step += 1
        return metrics | {"grad_norm": norm.detach()}

    def _posterior_noise(self, batch: Batch) -> Tensor:
        B, T = batch.frames.shape[:2]
        counters = [(self.step, sample) for sample in range(B)]
        shape = (T - 1, *self.model.latent_shape)
        return normal(shape, self.settings.seed, Stream.POSTERIOR, counters, self.compute.device)

    def teacher_forcing(self, batch_index: int, steps: int) -> list[bool]:
        """Toss for the steps of a batch: True draws from the true frame (`--tfr_coin`)."""
        ratio = teacher_forcing_ratio(self.settings, self.position)
        per_epoch = self.settings.tfr_coin == "epoch"
        counters = (self.epoch,) if per_epoch else (self.epoch, batch_index)
        rng = numpy_generator(self.settings.seed, Stream.TEACHER_FORCING, *counters)
        if self.settings.tfr_coin == "step":
            return (rng.random(steps) < ratio).tolist()
        return [bool(rng.random() < ratio)] * steps

    @property
    def position(self) -> float:
        """Where the schedules stand, in epochs: with `--minutes` by the time spent training."""
        if self.settings.minutes is None:
            return self.epoch
        spent = self.seconds / (60 * self.settings.minutes)
        return self.settings.num_epoch * min(1.0, spent)

    @property
    def finished(self) -> bool:
        """True where the schedules have come to their end."""
        return self.position >= self.settings.num_epoch

    def schedule(self) -> dict[str, float]:
        """Set the learning rate of the next step; return it with β and teacher forcing ratio."""
        return {
            "beta": kl_beta(self.settings, self.position),
            "tfr": teacher_forcing_ratio(self.settings, self.position),
            "lr": self.set_learning_rate(),
        }

    def set_learning_rate(self) -> float:
        """Set the rate of the next step and return it."""
        warm = min(1.0, (self.step + 1) / (self.settings.lr_warmup + 1))
        lr = warm * learning_rate(self.settings, self.position)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        return lr

    # ------------------------------------------------------------- checkpoints

    def state(self) -> dict:
        """Return the checkpoint after the last whole epoch: the lab's keys and ours.

        It lacks the replay, which is as large as the data; see `resume_state`.
        """
        last_epoch = self.epoch - 1
        at = max(0, last_epoch) if self.settings.minutes is None else self.position
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
        }

    def resume_state(self) -> dict:
        """Return what an exact continuation needs: the checkpoint and the kept predictions."""
        replay = {"replay": self.replay.frames} if self.replay else {}
        return self.state() | replay

    def restore(self, content: dict, path: Path) -> None:
        """Go on from a checkpoint: exactly from one of ours, from a lab file as it allows.

        A lab file gives weights, epoch, learning rate and teacher forcing ratio. The schedules
        are set so that at its epoch they have its values; they go on from there.
        """
        checkpoint.load_weights(self.model, content, path)
        if checkpoint.is_ours(content):
            self._restore_optimizer(content)
            self.epoch, self.step = content["last_epoch"] + 1, content["step"]
            self.seconds = content.get("seconds", 0.0)
            self.best = content["best"]
            if "replay" in content:
                self.replay = Replay(content["replay"])
            return
        settings, last = self.settings, int(content.get("last_epoch", -1))
        self.epoch = last + 1
        at = max(0, last) if settings.minutes is None else 0
        if (shape := learning_rate_shape(settings, at)) > 0 and "lr" in content:
            settings.lr = float(content["lr"]) / shape
        if "tfr" in content:
            decays = max(0, at - settings.tfr_sde + 1)
            settings.tfr = float(content["tfr"]) + settings.tfr_d_step * decays

    def _restore_optimizer(self, content: dict) -> None:
        """Take the optimizer's state, unless it is another optimizer's; decay is that of now."""
        stored = content["settings"]["optim"]
        if stored != self.settings.optim:
            print(f"--optim {self.settings.optim} begins afresh: the checkpoint's was {stored}")
            return
        decay = self.optimizer.param_groups[0]["weight_decay"]
        self.optimizer.load_state_dict(content["optimizer"])
        for group in self.optimizer.param_groups:
            group["weight_decay"] = decay


def make_optimizer(model: nn.Module, settings: Namespace) -> torch.optim.Optimizer:
    """Return the optimizer of `--optim`; Adam and AdamW in their fused form."""
    decay = settings.weight_decay
    if decay is None:
        decay = 0.01 if settings.optim == "AdamW" else 0.0
    arguments = {"lr": settings.lr, "weight_decay": decay}
    match settings.optim:
        case "Adam":
            return torch.optim.Adam(model.parameters(), fused=True, **arguments)
        case "AdamW":
            return torch.optim.AdamW(model.parameters(), fused=True, **arguments)
        case "RMSprop":
            return torch.optim.RMSprop(model.parameters(), **arguments)
    raise ValueError(f"unknown optimizer {settings.optim!r}")
