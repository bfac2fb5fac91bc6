"""Dance models of a benchmark: trained where they are not there yet, loaded, rolled out, scored."""

import argparse
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from benchmarks.scripts import call
from core.device import Compute, choose_compute, choose_device
from core.errors import UserError
from data.types import Clip
from engine.checkpoints import checkpoint
from engine.evaluation.metrics import psnr_by_frame
from engine.evaluation.rollout import rollout
from report import arms
from settings.flags import tester_parser
from settings.resolve import make_settings
from tasks.dance import DanceTask

PRESET = "--preset quick"


def add_model_flags(parser: argparse.ArgumentParser, *, data: bool = True) -> None:
    """Add the flags that say which models are compared: checkpoints, or what to train."""
    add = parser.add_argument
    if data:
        add("--DR", required=True, help="dataset folder")
    add("--ckpt_path", nargs="+", default=[], help="trained models, a column each")
    add("--out", type=Path, help="folder of the runs that are trained, and are not trained again")
    add("--seeds", type=int, nargs="+", default=[0], help="of the models that are trained")
    add(
        "--flags",
        action="append",
        help=f'flags of the Trainer beside {PRESET}, such as --flags "--num_epoch 30"; given '
        "again, another column",
    )


def recipes(given: argparse.Namespace) -> list[str]:
    """Return the flags of the models to train, none where there are checkpoints instead.

    Raises UserError where it is not said where the runs go, or what to compare.
    """
    found = given.flags or ([] if given.ckpt_path else [""])
    if found and given.out is None:
        raise UserError("--out is missing: the folder of the runs to train (or give --ckpt_path)")
    return found


def name_of(flags: str) -> str:
    """Return what a column of models trained with these flags is called."""
    return " ".join([PRESET, *flags.split()])


def train(root: str, out: Path, seed: int, *flags: str) -> Path:
    """Train the preset with more flags, where that has not been done; return its checkpoint.

    It is the one of the end, not the best by validation, which would be chosen by what is scored.
    """
    words = [word for part in flags for word in shlex.split(part)]
    run = out / "_".join([re.sub(r"[^\w.-]+", "_", " ".join(words)).strip("_-"), f"seed{seed}"])
    done = run.with_name(f"{run.name}.done")
    if not done.exists():
        place = ["--DR", root, "--save_root", str(run)]
        call("Trainer.py", *place, *PRESET.split(), "--seed", str(seed), *words)
        done.touch()
    return run / checkpoint.LAST


class DanceModel:
    """A trained model with what it takes to roll it out.

    Of a run folder it is `last.ckpt`. flags: settings other than those of its checkpoint.
    """

    def __init__(self, path: str | Path, root: str | Path, **flags):
        found = checkpoint.find(str(path), prefer=checkpoint.LAST)
        explicit = {"DR": str(root), "ckpt_path": str(found.path)} | flags
        self.settings = make_settings(tester_parser(), explicit, found.settings)
        self.task = DanceTask(self.settings)
        self.model = self.task.model
        checkpoint.load_weights(self.model, found)
        self.compute: Compute = choose_compute(
            choose_device("auto"), self.settings.precision, "off"
        )
        self.compute.prepare(self.model).eval()
        self.found, self.path = found, found.path

    @property
    def data(self):
        return self.task.data

    def holdout(self) -> Clip:
        """Return what the model has held out. Raises UserError where it is no single recording."""
        if self.settings.holdout is None:
            raise UserError(f"--ckpt_path {self.path}: it has no --holdout to be scored on")
        (clip, *others) = self.data.validation_clips()["holdout"]
        if others:
            raise UserError(
                f"{self.path}: its --holdout lies in several recordings; take one in one"
            )
        return clip

    def rollout(self, clips: Sequence[Clip]) -> list[Tensor]:
        """Predict clips as the Tester does: (T, 3, H, W) uint8 each, the first frame given."""
        self.task.settle_output(self.found, lambda: clips[0])
        settings = self.settings
        how = {"z": settings.latent, "temperature": settings.temperature, "seed": settings.seed}
        return rollout(self.model, clips, compute=self.compute, **how)

    def scores(self, clips: Sequence[Clip]) -> list[np.ndarray]:
        """Return the PSNR in dB of the frames 1 to T − 1 of every clip."""
        return [psnr_of(clip, predicted) for clip, predicted in zip(clips, self.rollout(clips))]


def psnr_of(clip: Clip, predicted: Tensor) -> np.ndarray:
    """Return the PSNR in dB of the frames 1 to T − 1."""
    return psnr_by_frame(predicted[1:], clip.frames[1:]).numpy()


def markdown(head: Sequence[str], rows: Sequence[Sequence]) -> str:
    """Return a Markdown table; numbers have two decimals, what is not there is a dash."""
    return arms.markdown(head, [[_cell(value) for value in row] for row in rows]).rstrip()


def by_seed(values: Sequence[float]) -> str:
    """Return the mean of the seeds and, where there are several, each; without any, a dash."""
    if not values:
        return "–"
    each = ", ".join(f"{value:.2f}" for value in values)
    return f"{np.mean(values):.2f}" + (f" ({each})" if len(values) > 1 else "")


def _cell(value) -> str:
    if isinstance(value, float):
        return "–" if np.isnan(value) else f"{value:.2f}"
    return str(value)
