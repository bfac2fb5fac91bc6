"""`VAE_Model`: the dance model under the name, and with the methods, that users of the lab call."""

from argparse import Namespace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from core.device import Compute, choose_compute
from core.errors import UserError
from engine.training import schedules
from engine.training.trainer import Trainer
from lab.arguments import complete_arguments
from lab.loaders import clip_loader, window_loader
from lab.loop import catch_up, leave_to_hooks, prepare_stage, validate_own
from lab.schedules import EpochScheduler, kl_annealing
from lab.steps import STEP_HOOKS, LabSteps
from lab.task import LabTask
from tasks.base import seeded_weights


def _of_args(name: str) -> property:
    """Make an attribute of one of the arguments."""
    return property(
        lambda self: getattr(self.args, name),
        lambda self, value: setattr(self.args, name, value),
        doc=f"`args.{name}`.",
    )


class VAE_Model(LabSteps):
    """The networks with what trains, validates and saves them.

    `args` is a Namespace of lab flags; what it lacks takes the default. The stages are those of
    `engine.training.trainer.Trainer` as long as a subclass has no method of its own among `HOOKS`;
    else the lab's loop runs through the methods (`lab.loop`). `eval()` is that of `nn.Module`.
    """

    TRAINING_HOOKS = (
        "training_one_step",
        "train_dataloader",
        *STEP_HOOKS,
        "teacher_forcing_ratio_update",
        "tqdm_bar",
        "save",
        "optim",
        "scheduler",
        "kl_annealing",
    )
    VALIDATION_HOOKS = ("val_one_step", "val_dataloader", "make_gif", "eval")
    HOOKS = TRAINING_HOOKS + VALIDATION_HOOKS

    def __init__(self, args: Namespace):
        args = complete_arguments(args)
        with seeded_weights(args.seed):
            super().__init__(args)
        self._begin()

    def _begin(self) -> None:
        """Be as before the first step: what is made here is made anew for a copy."""
        self._trainer: Trainer | None = None
        self._own: dict = {}  # optim, scheduler and kl_annealing, where replaced
        self._tfr: float | None = None  # where it was assigned
        self.task = LabTask(self)

    def __getstate__(self) -> dict:
        begun = ("_trainer", "_own", "_tfr", "task", "_schedules")
        return {name: value for name, value in vars(self).items() if name not in begun}

    def __setstate__(self, state: dict) -> None:
        super().__setstate__(state)
        self._begin()

    def own_hooks(self) -> list[str]:
        own = [*super().own_hooks(), *self._own]
        if repr(self.mse_criterion) != repr(nn.MSELoss()) or self.mse_criterion.reduction != "mean":
            own.append("mse_criterion")
        return [name for name in self.HOOKS if name in own]

    # ------------------------------------------------------- what trains it

    @property
    def trainer(self) -> Trainer:
        """What trains this model; made when first asked for, and moved with the model."""
        device = next(self.parameters()).device
        if self._trainer is None:
            compute = choose_compute(device, self.args.precision, self.args.compile)
            self._trainer = Trainer(self.task, compute)
            self._use_own_optimizer()
        elif self._trainer.run.compute.device != device:
            compute = choose_compute(device, self.args.precision, self.args.compile)
            self._trainer.run.move(compute)
        return self._trainer

    @property
    def compute(self) -> Compute:
        return self.trainer.run.compute

    @property
    def optim(self) -> torch.optim.Optimizer:
        """The optimizer of `--optim`, or the one that was assigned."""
        return self.trainer.run.optimizer

    @optim.setter
    def optim(self, optimizer: torch.optim.Optimizer) -> None:
        self._own["optim"] = optimizer
        if self._trainer is not None:
            self._use_own_optimizer()

    def _use_own_optimizer(self) -> None:
        if (own := self._own.get("optim")) is not None:
            self._trainer.run.use_optimizer(own)

    @property
    def scheduler(self):
        """The learning rate by epoch: `EpochScheduler`, or the one that was assigned."""
        return self._schedule("scheduler")

    @scheduler.setter
    def scheduler(self, scheduler) -> None:
        self._own["scheduler"] = scheduler

    @property
    def kl_annealing(self) -> kl_annealing:
        """The KL weight by epoch, or what was assigned."""
        return self._schedule("kl_annealing")

    @kl_annealing.setter
    def kl_annealing(self, annealing) -> None:
        self._own["kl_annealing"] = annealing

    batch_size = _of_args("batch_size")
    train_vi_len = _of_args("train_vi_len")
    val_vi_len = _of_args("val_vi_len")
    tfr_sde = _of_args("tfr_sde")
    tfr_d_step = _of_args("tfr_d_step")

    def _schedule(self, name: str):
        if name in self._own:
            return self._own[name]
        if "_schedules" not in vars(self):
            self._schedules = {
                "scheduler": EpochScheduler(self, self._epoch),
                "kl_annealing": kl_annealing(self.args, self._epoch(), self._epoch),
            }
        return self._schedules[name]

    def _epoch(self) -> float:
        """The epoch at which the schedules stand: with `minutes` by the time spent."""
        return 0 if self._trainer is None else self._trainer.run.fractional_epoch

    @property
    def current_epoch(self) -> int:
        return self.trainer.run.epoch

    @current_epoch.setter
    def current_epoch(self, epoch: int) -> None:
        self.trainer.run.epoch = epoch

    @property
    def tfr(self) -> float:
        """The teacher forcing ratio of the current epoch, or as it was assigned.

        Below 0, where scripts that count down pass by before they mend it, it is 0.
        """
        if self._tfr is not None:
            return self._tfr
        run = self.trainer.run
        if run.epoch == 0 and self.has_own("teacher_forcing_ratio_update"):
            return self.args.tfr  # from which the method goes on
        return schedules.teacher_forcing_ratio(self.args, run.fractional_epoch, run.initial_tfr)

    @tfr.setter
    def tfr(self, ratio: float) -> None:
        if not ratio <= 1:
            raise UserError(f"tfr = {ratio}: a ratio is between 0 and 1")
        ratio = max(0.0, ratio)
        run = self.trainer.run
        decays = max(0, int(run.fractional_epoch) - self.args.tfr_sde + 1)
        run.initial_tfr = ratio + self.args.tfr_d_step * decays  # so that the decay goes on from it
        self._tfr = ratio

    def teacher_forcing_ratio_update(self) -> float:
        """Make the ratio that of the current epoch and return it."""
        self._tfr = None
        return self.tfr

    # ------------------------------------------------------------------ stages

    def training_stage(self) -> None:
        """Train to the last epoch: validates, logs and saves into `args.save_root`."""
        trainer = self.trainer
        prepare_stage(self)
        trainer.fit()
        self._tfr = None

    def validation_stage(self) -> None:
        """Validate as the test does, and print the scores beside the baselines.

        With a validation of one's own: that, and the mean of what its steps return.
        """
        if not self.has_own("val_one_step", "eval"):
            self.trainer.validate()
        elif (loss := validate_own(self)) is not None:
            print(f"validation of {type(self).__name__}: {loss:.4g}")

    def val_one_step(self, img: Tensor, label: Tensor, idx: int = 0) -> Tensor:
        """Roll (B, T, 3, H, W) out by the test's protocol; return the MSE of frames 1 to T − 1.

        idx is the number of the batch, which decides about the noise: clip k has noise of its own.
        """
        predicted = torch.stack(self._roll_out(img, label, idx * len(img)))[:, 1:].float() / 255
        return nn.functional.mse_loss(predicted, img[:, 1:].cpu())

    # -------------------------------------------------------------------- data

    def train_dataloader(self) -> DataLoader:
        """Return the batches of the current epoch: (B, T, 3, H, W) frames and poses in [0, 1]."""
        windows = self.task.windows()
        windows.version = windows.version_in(self.current_epoch, self.trainer.run.progress)
        return window_loader(windows, self.current_epoch)

    def val_dataloader(self) -> DataLoader:
        """Return the clips that choose `best.ckpt`, one at a time: (1, T, 3, H, W) each."""
        return clip_loader(next(iter(self.task.clips().values())))

    # ------------------------------------------------------------------ output

    def tqdm_bar(self, mode: str, pbar: tqdm, loss: Tensor | float, lr: float) -> None:
        """Show on a bar how training stands."""
        pbar.set_description(f"({mode}) epoch {self.current_epoch}, lr {lr:.2g}", refresh=False)
        pbar.set_postfix(loss=float(loss), refresh=False)
        pbar.refresh()

    def save(self, path: str) -> None:
        """Write a checkpoint with the lab's keys and ours."""
        self.trainer.save(Path(path))

    def load_checkpoint(self) -> None:
        """Go on where the same command stopped, else from `args.ckpt_path`, where given."""
        leave_to_hooks(self)
        self.trainer.load_checkpoint()
        self._tfr = None
        catch_up(self)


VAE_Model.remember_hooks()
