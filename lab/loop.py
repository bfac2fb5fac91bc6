"""The lab's loop: every step, loader and validation is the method of the model that is asked.

For a `VAE_Model` one of whose methods is a subclass's own. Epochs, checkpoints, log and signals
are those of the engine.
"""

import inspect
import numbers
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau
from tqdm import tqdm

from core import distributed
from core.errors import UserError
from core.randomness import Stream, numpy_generator
from data.types import Batch
from engine.evaluation.scoring import Scores
from engine.evaluation.validation import Validation
from engine.training.epoch_metrics import SKIPPED
from engine.training.loop import TrainingLoop
from lab.task import OWN_VALIDATION

# Columns of the log that are no metrics of a step.
TAKEN = {"epoch", "step", SKIPPED, "beta", "tfr", "lr", "teacher_forced"}
TAKEN |= {"seconds", "frames_per_second"}


def prepare_stage(model) -> None:
    """Have the trainer of a `VAE_Model` run its own methods, where it has any, and say so."""
    own = model.own_hooks()
    trainer = model.trainer
    trainer.loop = TrainingLoop
    if not own:
        return
    if distributed.world_size() > 1:
        raise UserError(
            f"{type(model).__name__} has its own {', '.join(own)}: it trains in one process"
        )
    leave_to_hooks(model)
    if not model.args.prediction_buffer:
        trainer.run.prediction_buffer = None  # of a checkpoint that was loaded before
    trainer.loop = lambda *parts: HookedLoop(model, *parts)
    print(notice(model, own))


def leave_to_hooks(model) -> None:
    """Switch off in `args` what a method of one's own would have to do."""
    if model.has_own(*model.TRAINING_HOOKS):
        model.args.prediction_buffer = False


def notice(model, own: list[str]) -> str:
    """Return what is the subclass's own, and what it has to do itself where it wants it."""
    left: list[str] = []
    if model.has_own(*model.TRAINING_HOOKS):
        left += ["the prediction buffer", "precise BatchNorm statistics"]
    if model.has_own("train_dataloader"):
        left += ["the choice of windows and their augmentation"]
    if model.has_own("training_one_step", "optimizer_step"):
        left += ["clipping gradients and skipping steps that are not finite"]
    if model.has_own("val_one_step", "eval"):
        left += ["PSNR, SSIM and GIFs of a validation"]
    told = f"{type(model).__name__} has its own {', '.join(own)}: training runs the lab's loop"
    return f"{told} through its methods, and leaves to them {', '.join(left)}" if left else told


def catch_up(model) -> None:
    """Bring the schedules to the epoch of a checkpoint that was loaded.

    Those of one's own by as many updates as there were epochs.
    """
    run = model.trainer.run
    for name, advance in (("kl_annealing", "update"), ("scheduler", "step")):
        schedule = getattr(model, name)
        if not model.has_own(name):
            getattr(schedule, advance)(run.fractional_epoch)
        elif not isinstance(schedule, ReduceLROnPlateau):
            for group in model.optim.param_groups if name == "scheduler" else ():
                group["lr"] = group.get("initial_lr", group["lr"])
            with warnings.catch_warnings():  # of a scheduler before the optimizer's first step
                warnings.simplefilter("ignore")
                for _ in range(run.epoch):
                    getattr(schedule, advance)()


class HookedLoop(TrainingLoop):
    """The training loop, with the methods of a `VAE_Model` for its parts."""

    def __init__(self, model, *parts):
        super().__init__(*parts)
        self.model = model
        self.found: dict[str, Validation] = {}  # in the latest validation by the engine
        if model.has_own("teacher_forcing_ratio_update"):
            model.tfr = model.tfr  # from here on what that method makes of it

    def take_step(
        self, batch: Batch, kl_beta: Tensor, bar: tqdm
    ) -> tuple[dict[str, float], list[bool], dict[str, Tensor]]:
        model, run = self.model, self.run
        if not model.has_own("scheduler"):
            model.scheduler.set_rate()
        step, asked, forced = run.step, run.guard.asked, self.toss()
        model.step_metrics = {}
        result = model.training_one_step(batch.frames, batch.conditions, forced)
        metrics = model.step_metrics  # where the step was ours, or asked ours
        if model.has_own("training_one_step"):
            metrics = joined(metrics, self.figures_of(result))
        if run.step == step:
            run.step += 1
        if run.guard.asked == asked:  # by nobody
            run.guard.count(metrics[SKIPPED])
        lr = float(model.optim.param_groups[0]["lr"])
        if model.has_own("tqdm_bar"):
            model.tqdm_bar("train", bar, metrics["loss"], lr)
        beta = float(model.kl_annealing.get_beta())
        scheduled = {"beta": beta, "tfr": float(model.tfr), "lr": lr}
        return scheduled, [forced] * (batch.frames.shape[1] - 1), metrics

    def toss(self) -> bool:
        """Toss for an epoch, or with `--tfr_granularity` batch or step for a batch."""
        run = self.run
        by_epoch = run.settings.tfr_granularity == "epoch"
        counters = (run.epoch,) if by_epoch else (run.epoch, run.epoch_metrics.batches)
        rng = numpy_generator(run.settings.seed, Stream.TEACHER_FORCING, *counters)
        return bool(rng.random() < self.model.tfr)

    def figures_of(self, result) -> dict[str, Tensor]:
        """Return what a step of one's own returned, a loss or figures by name, as metrics."""
        if not isinstance(result, dict):
            result = {"loss": result}
        if "loss" not in result or any(as_number(value) is None for value in result.values()):
            raise UserError(
                f"training_one_step of {type(self.model).__name__} is to return its loss, a "
                "number, or a dict of numbers with 'loss' among them"
            )
        if taken := TAKEN & result.keys():
            raise UserError(
                f"training_one_step of {type(self.model).__name__} returns {min(taken)!r}, which "
                "the log has already: call it otherwise"
            )
        device = self.run.compute.device
        figures = {
            name: torch.as_tensor(value, dtype=torch.float32, device=device).detach().reshape(())
            for name, value in result.items()
        }
        finite = torch.stack(list(figures.values())).isfinite().all()
        if not finite:
            figures = dict.fromkeys(figures, torch.zeros((), device=device))
        return figures | {SKIPPED: (~finite).float()}

    def recompute_bn_stats(self) -> None:
        """Leave them as the steps have made them, where these are not the engine's."""
        if not self.model.has_own(*self.model.TRAINING_HOOKS):
            super().recompute_bn_stats()

    def end_epoch(self, bar: tqdm) -> None:
        model, epoch, settings = self.model, self.run.epoch, self.run.settings
        super().end_epoch(bar)
        if model.has_own("save") and (epoch % settings.per_save == 0 or self.run.finished):
            self.saver.wait()
            model.save(str(Path(self.saver.folder) / f"epoch={epoch}.ckpt"))

    def next_epoch(self) -> None:
        model, epoch = self.model, self.run.epoch_metrics
        loss = float(epoch.metrics["loss"]) / epoch.batches
        super().next_epoch()
        plateau = isinstance(model.scheduler, ReduceLROnPlateau)
        model.scheduler.step(*[loss] * plateau)
        model.teacher_forcing_ratio_update()
        model.kl_annealing.update()

    def validate_epoch(
        self, bar: tqdm, row: dict[str, dict[str, float]]
    ) -> tuple[dict[str, Path], dict[str, list[Scores]]]:
        model, run = self.model, self.run
        if not model.has_own("val_one_step", "eval"):
            gifs, scores = super().validate_epoch(bar, row)
            if model.has_own("make_gif"):
                for name, path in gifs.items():
                    frames = self.found[name.removesuffix("_gif")].predictions[0]
                    model.make_gif(list(frames.float() / 255), str(path))
            return gifs, scores
        loss = validate_own(model)
        if loss is not None:
            row["val"][f"{OWN_VALIDATION}_loss"] = loss
            if -loss > run.best["psnr"]:
                run.best = run.best | {"psnr": -loss, "loss": loss, "epoch": run.epoch}
        return {}, {}

    def validate_all(self, bar: tqdm) -> dict[str, Validation]:
        self.found = super().validate_all(bar)
        return self.found


def joined(ours: dict[str, Tensor], own: dict[str, Tensor]) -> dict[str, Tensor]:
    """Join the metrics of a step of ours that one of the user's own has asked, to its own."""
    if not ours:
        return own
    skipped = torch.maximum(ours[SKIPPED], own[SKIPPED])
    return {k: torch.where(skipped > 0, 0, v) for k, v in (ours | own).items()} | {SKIPPED: skipped}


@torch.no_grad()
def validate_own(model) -> float | None:
    """Validate by the methods of a `VAE_Model`; return the mean of what its steps return, if any.

    In evaluation mode; the mode is restored.
    """
    was_training = model.training
    nn.Module.train(model, False)
    try:
        if model.has_own("eval"):
            return as_number(model.eval())
        device = next(model.parameters()).device
        step = with_index(model.val_one_step)
        results = [
            as_number(step(img.to(device), label.to(device), idx))
            for idx, (img, label) in enumerate(model.val_dataloader())
        ]
    finally:
        nn.Module.train(model, was_training)
    return None if None in results or not results else sum(results) / len(results)


def with_index(step: Callable) -> Callable:
    """Return a `val_one_step` that takes the number of the clip, whether or not this one does."""
    try:
        inspect.signature(step).bind(None, None, 0)
    except TypeError:
        return lambda img, label, idx: step(img, label)
    return step


def as_number(value) -> float | None:
    """Return a number, also one in a tensor; None for anything else."""
    if torch.is_tensor(value) and value.numel() == 1:
        return float(value.detach())
    return float(value) if isinstance(value, numbers.Real) else None
