"""A run goes on from a checkpoint."""

import math
from typing import TYPE_CHECKING

from core import distributed
from core.errors import UserError
from engine.checkpoints import checkpoint
from engine.checkpoints.checkpoint import Checkpoint
from engine.training.epoch_metrics import EpochMetrics
from engine.training.optimizers import load_state
from engine.training.prediction_buffer import PredictionBuffer
from engine.training.schedules import learning_rate_shape
from settings.fingerprint import global_batch_size

if TYPE_CHECKING:
    from engine.training.run import Run


def restore(run: "Run", source: Checkpoint) -> None:
    """Go on from a checkpoint: exactly from one of ours, from a lab file as it allows.

    A lab file gives weights, epoch, learning rate and teacher forcing ratio. The schedules
    are set so that at its epoch they have its values; they go on from there.
    """
    if source.is_ours and "optimizer" not in source.content:
        raise UserError(
            f"{source.path} holds weights alone; begin a run with --warm_start {source.path}"
        )
    checkpoint.load_weights(run.model, source)
    try:
        (_restore_ours if source.is_ours else _restore_lab)(run, source.content)
    except (LookupError, TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise UserError(
            f"{source.path}: an entry is not what a run stores ({error}); --warm_start takes "
            "the weights alone"
        ) from None


def _restore_lab(run: "Run", content: dict) -> None:
    settings, last = run.settings, int(content.get("last_epoch", -1))
    lr, tfr = (float(content.get(name, 0)) for name in ("lr", "tfr"))
    if not (-1 <= last < 10**9 and 0 <= lr < 1e30 and abs(tfr) < 1e9):
        raise ValueError(f"epoch {last}, lr {lr}, tfr {tfr}")
    run.epoch = last + 1
    at = max(0, last) if settings.minutes is None else 0
    if (shape := learning_rate_shape(settings, at)) > 0 and "lr" in content:
        run.initial_lr = lr / shape
    if "tfr" in content:
        decays = max(0, at - settings.tfr_sde + 1)
        run.initial_tfr = max(0.0, tfr + settings.tfr_d_step * decays)


def _restore_ours(run: "Run", content: dict) -> None:
    _restore_optimizer(run, content)
    run.epoch, run.step = content["last_epoch"] + 1, content["step"]
    run.epoch_began = run.seconds = content.get("seconds", 0.0)
    run.threads = content.get("threads")
    run.best = content["best"]
    if "epoch_metrics" in content:
        begun = EpochMetrics(**content["epoch_metrics"])
        run.epoch_metrics = begun.to(run.compute.device)
        run.epoch_began -= begun.seconds
        _count_in_own_batches(run, content.get("fingerprint", {}))
    run.frames_version = content.get("frames_version", 0)
    if "prediction_buffer" in content and run.settings.prediction_buffer:
        run.prediction_buffer = PredictionBuffer(content["prediction_buffer"], run.frames_version)


def _count_in_own_batches(run: "Run", fingerprint: dict) -> None:
    """Say of the begun epoch how many batches it has come, where they had another size.

    Fewer windows than a batch has are passed over for it.
    """
    before = global_batch_size(fingerprint)
    own = distributed.world_size() * run.settings.batch_size
    if before is not None and before != own:
        run.epoch_metrics.rescale(math.ceil(run.epoch_metrics.batches * before / own))


def _restore_optimizer(run: "Run", content: dict) -> None:
    """Take the optimizer's state, unless it is another optimizer's."""
    stored = content["settings"]["optim"]
    if stored != run.settings.optim:
        print(f"--optim {run.settings.optim} begins afresh: the checkpoint's was {stored}")
        return
    load_state(run.optimizer, content["optimizer"])
