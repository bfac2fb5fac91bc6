"""Several checkpoints tested as one: do their models and settings fit together?"""

from collections.abc import Sequence

from core.errors import UserError
from engine.checkpoints.checkpoint import Checkpoint
from settings.resolve import Settings
from tasks import task_of

FRAMES = ("frame_H", "frame_W", "n_past")  # what models must share for their frames to be averaged
SAID = ("latent", "temperature", "precision", "n_eval")  # what flags say, of all models at once


def check_same_model(checkpoint: Checkpoint) -> None:
    """Raise UserError where the checkpoint comes with others of another kind of model."""
    name = task_of(checkpoint).name
    for other in checkpoint.others:
        if (found := task_of(other).name) != name:
            raise UserError(
                f"--ckpt_path: {checkpoint.path} holds a --model {name}, {other.path} a --model "
                f"{found}; an average is of models of one kind"
            )


def check_fit(checkpoint: Checkpoint, settings: Sequence[Settings]) -> None:
    """Raise UserError where settings of the checkpoint and of the others do not fit together.

    On `--split val` all must have held out the same frames: those that one of them was trained on
    say nothing.
    """
    own, *others = settings
    asked = [(name, "models of other frames cannot be averaged") for name in FRAMES]
    asked += [(name, f"say --{name} for all of them") for name in SAID]
    if own.split == "val":
        asked += [("holdout", "frames that one of them was trained on are no test")]
        asked += [("val_vi_len", "say --val_vi_len for all of them")]
    for other, values in zip(checkpoint.others, others):
        for name, way_out in asked:
            if (theirs := getattr(values, name)) != (ours := getattr(own, name)):
                raise UserError(
                    f"--ckpt_path: {checkpoint.path} has {name} = {ours}, {other.path} "
                    f"{name} = {theirs}: {way_out}"
                )
