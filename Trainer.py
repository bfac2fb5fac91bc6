"""Train a model: `python Trainer.py --DR ROOT --save_root RUN`. See `--help` and the README."""

if __name__ == "__main__":
    import core.startup  # first of all: what follows takes seconds
import core.waiting  # noqa: F401, before torch

# isort: split

from argparse import Namespace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from core import distributed
from core.device import choose_compute, choose_device
from core.errors import UserError, exit_on_user_error
from data.types import Batch, Clip
from engine.checkpoints import checkpoint as checkpoints
from engine.checkpoints.checkpoint import Checkpoint
from engine.evaluation.metrics import Generate_PSNR
from engine.evaluation.validation import validate
from engine.training import schedules
from engine.training.trainer import Trainer
from modules.gaussian import kl_criterion
from modules.vae import CVAE, CVAEConfig
from settings import resolve
from settings.flags import trainer_parser
from settings.resolve import Settings
from tasks import make_task, task_of
from tasks.base import seeded_weights
from tasks.dance import DanceTask

__all__ = ["Generate_PSNR", "VAE_Model", "kl_annealing", "kl_criterion"]


@exit_on_user_error
def main() -> None:
    with distributed.joined():
        settings, source = distributed.broadcast_from_main(read_settings)
        device = choose_device(settings.device)
        compute = choose_compute(device, settings.precision, settings.compile)
        trainer = Trainer(make_task(settings), compute, source)
        trainer.load_checkpoint()
        if settings.test:
            trainer.validate()
        else:
            trainer.fit()


def read_settings(argv: list[str] | None = None) -> tuple[Settings, Checkpoint | None]:
    """Return the settings, from command line, checkpoint, preset and defaults; and the checkpoint.

    That is the one of `--ckpt_path` or `--warm_start`, where one is given.
    """
    parser = trainer_parser()
    resolve.check_one_checkpoint(argv, "training goes on from one; Tester.py takes several")
    explicit = resolve.parse_explicit(parser, argv)
    if "DR" not in explicit:
        raise UserError("--DR is missing: the dataset folder, which holds train/, val/ and test/")
    explicit.setdefault("save_root", "checkpoints")
    if explicit.get("test") and "ckpt_path" not in explicit:
        raise UserError("--test validates a checkpoint: say which with --ckpt_path")
    if "ckpt_path" in explicit and "warm_start" in explicit:
        raise UserError("--ckpt_path continues a run, --warm_start begins one: give one of them")
    source, stored = None, {}
    if path := explicit.get("ckpt_path") or explicit.get("warm_start"):
        prefer = checkpoints.BEST if explicit.get("test") else checkpoints.LAST
        source = checkpoints.find(path, prefer=prefer)
        task = task_of(source)
        architecture = task.stored_architecture(source) | {"model": task.name}
        resolve.check_architecture(explicit, architecture, source.path)
        stored = (source.settings if "ckpt_path" in explicit else {}) | architecture
    settings = resolve.make_settings(parser, explicit, stored)
    resolve.check_flags_of_model(parser, explicit, settings.model)
    return settings, source


class VAE_Model(CVAE):
    """The dance model under the name, and with the methods, that users of the lab call.

    A thin face: its stages are those of `engine.training.trainer.Trainer`, its data those of
    `tasks.dance.DanceTask`. `args` is a Namespace of lab flags; what it lacks takes the default.
    `eval()` is that of `nn.Module`.
    """

    def __init__(self, args: Namespace):
        settings = resolve.complete(args)
        with seeded_weights(settings.seed):
            super().__init__(CVAEConfig.from_settings(settings))
        self.args = settings
        self.task = DanceTask(settings, self)

    @cached_property
    def trainer(self) -> Trainer:
        """What trains this model; made when first asked for, on the device the model is on then."""
        device = next(self.parameters()).device
        compute = choose_compute(device, self.args.precision, self.args.compile)
        return Trainer(self.task, compute)

    @property
    def current_epoch(self) -> int:
        return self.trainer.run.epoch

    @current_epoch.setter
    def current_epoch(self, epoch: int) -> None:
        self.trainer.run.epoch = epoch

    @property
    def tfr(self) -> float:
        run = self.trainer.run
        return schedules.teacher_forcing_ratio(self.args, run.epoch, run.initial_tfr)

    def teacher_forcing_ratio_update(self) -> float:
        """Return the ratio of the current epoch: the schedule is a function of the epoch alone."""
        return self.tfr

    def training_stage(self) -> None:
        """Train to the last epoch: validates, logs and saves into `args.save_root`."""
        self.trainer.fit()

    def validation_stage(self) -> None:
        """Validate as the test does, and print the scores beside the baselines."""
        self.trainer.validate()

    def training_one_step(self, img: Tensor, label: Tensor, adapt_TeacherForcing: bool) -> Tensor:
        """Take one optimizer step on (B, T, 3, H, W) frames and poses; return the loss."""
        run = self.trainer.run
        run.set_learning_rate()
        forced = [bool(adapt_TeacherForcing)] * (img.shape[1] - 1)
        beta = schedules.kl_beta(self.args, run.epoch)
        batch = Batch(img.to(run.compute.device), label.to(run.compute.device))
        return run.train_step(batch, forced, beta)["loss"]

    @torch.no_grad()
    def val_one_step(self, img: Tensor, label: Tensor) -> Tensor:
        """Roll (B, T, 3, H, W) out by the test's protocol; return the MSE of frames 1 to T − 1."""
        pixels = [(x * 255).round().to("cpu", torch.uint8) for x in (img, label)]
        clips = [Clip(str(k), *pair) for k, pair in enumerate(zip(*pixels))]
        found = validate(self, clips, self.args, self.trainer.run.compute)
        predicted = torch.stack(found.predictions)[:, 1:].float() / 255
        return torch.nn.functional.mse_loss(predicted, img[:, 1:].cpu())

    def save(self, path: str) -> None:
        """Write a checkpoint with the lab's keys and ours."""
        self.trainer.save(Path(path))

    def load_checkpoint(self) -> None:
        """Go on where the same command stopped, else from `args.ckpt_path`, where given."""
        self.trainer.load_checkpoint()


class kl_annealing:
    """The lab's face of the KL weight: a counter over `engine.training.schedules.kl_beta`."""

    def __init__(self, args: Namespace, current_epoch: int = 0):
        self.args = resolve.complete(args)
        self.epoch = current_epoch

    def update(self) -> None:
        """Go on to the next epoch."""
        self.epoch += 1

    def get_beta(self) -> float:
        """Return β of the current epoch."""
        return schedules.kl_beta(self.args, self.epoch)


if __name__ == "__main__":
    main()
