"""What a training run says where it fails: it diverged, or its checkpoints cannot be written."""

from core.errors import UserError
from engine.checkpoints import checkpoint
from engine.checkpoints.writer import Saver
from engine.training.non_finite_guard import LIMIT
from engine.training.run import Run


def diverged(run: Run, saver: Saver) -> UserError:
    """Return what to tell where no step changes the weights any more."""
    saver.wait()
    saved = [path.name for path in checkpoint.candidates(saver.folder)]
    saved += [checkpoint.BEST] if (saver.folder / checkpoint.BEST).exists() else []
    before = f"of before there are {', '.join(saved)}" if saved else "nothing was saved before"
    return UserError(
        f"training diverged: no finite loss in the {LIMIT} steps up to step {run.step}; in "
        f"{saver.folder} {before}. Train with a lower --lr or --grad_clip_norm, or with "
        "--precision fp32; --ckpt_path goes on from a checkpoint"
    )


def not_saved(run: Run, saver: Saver, *, stopped: bool) -> UserError:
    """Return what to tell where the run ends and files of it could not be written.

    stopped: whether a signal ended it.
    """
    files = ", ".join(f"{saver.folder / name} ({why})" for name, why in saver.failed.items())
    ended = f"{'stopped' if stopped else 'trained to its end'} at step {run.step}"
    if checkpoint.LAST not in saver.failed:
        return UserError(f"{ended}, but not all of its checkpoints could be written: {files}")
    goes_on = "the same command goes on from the last checkpoint that was"
    if not checkpoint.candidates(saver.folder):
        goes_on = "no checkpoint was, and the same command begins anew"
    return UserError(
        f"{ended}, but the last checkpoint could not be written: {files}; free space or "
        f"permissions, then {goes_on}"
    )
