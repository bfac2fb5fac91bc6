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
from engine.schedules import learning_rate, learning_rate_shape, teacher_forcing_ratio


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
        self.best: dict | None = None  # {"set": name, "psnr": dB, "epoch": e}

    def train_step(
        self, batch: Batch, teacher_forcing: list[bool], kl_beta: Tensor | float
    ) -> dict[str, Tensor]:
        """Take one optimizer step; the metrics stay on the device."""
        noise = self._posterior_noise(batch)
        with self.compute.autocast():
            loss, metrics = self.model.loss(
                batch.frames,
                batch.conditions,
                teacher_forcing=teacher_forcing,
                kl_beta=kl_beta,
                noise=noise,
                bptt=self.settings.bptt,
            )
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
        ratio = teacher_forcing_ratio(self.settings, self.epoch)
        per_epoch = self.settings.tfr_coin == "epoch"
        counters = (self.epoch,) if per_epoch else (self.epoch, batch_index)
        rng = numpy_generator(self.settings.seed, Stream.TEACHER_FORCING, *counters)
        if self.settings.tfr_coin == "step":
            return (rng.random(steps) < ratio).tolist()
        return [bool(rng.random() < ratio)] * steps

    def set_learning_rate(self) -> float:
        """Set the rate of the current epoch and return it."""
        lr = learning_rate(self.settings, self.epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        return lr

    # ------------------------------------------------------------- checkpoints

    def state(self) -> dict:
        """Return the checkpoint after the last whole epoch: the lab's keys and ours."""
        last_epoch = self.epoch - 1
        return {
            "format": checkpoint.FORMAT,
            "state_dict": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "lr": learning_rate(self.settings, max(0, last_epoch)),
            "tfr": teacher_forcing_ratio(self.settings, max(0, last_epoch)),
            "last_epoch": last_epoch,
            "step": self.step,
            "best": self.best,
            "settings": as_plain(self.settings),
        }

    def restore(self, content: dict, path: Path) -> None:
        """Go on from a checkpoint: exactly from one of ours, from a lab file as it allows.

        A lab file gives weights, epoch, learning rate and teacher forcing ratio. The schedules
        are set so that at its epoch they have its values; they go on from there.
        """
        checkpoint.load_weights(self.model, content, path)
        if checkpoint.is_ours(content):
            self.optimizer.load_state_dict(content["optimizer"])
            self.epoch, self.step = content["last_epoch"] + 1, content["step"]
            self.best = content["best"]
            return
        settings, last = self.settings, int(content.get("last_epoch", -1))
        self.epoch = last + 1
        if (shape := learning_rate_shape(settings, max(0, last))) > 0 and "lr" in content:
            settings.lr = float(content["lr"]) / shape
        if "tfr" in content:
            decays = max(0, last - settings.tfr_sde + 1)
            settings.tfr = float(content["tfr"]) + settings.tfr_d_step * decays


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
