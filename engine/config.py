"""The settings of a run, made of what the command line says and what it leaves open.

Precedence: a flag on the command line > the checkpoint that is continued > the preset > the
default.
"""

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

from engine.errors import UserError
from engine.flags import kl_anneal_type, tester_parser, trainer_parser
from engine.presets import LAB_WIDTHS, PRESETS

__all__ = ["LAB_WIDTHS", "PRESETS", "tester_parser", "trainer_parser"]

MODEL_FLAGS = (*LAB_WIDTHS, "frame_H", "frame_W", "output_activation", "patch", "scene")

# Flags that say where and how a run is carried out, not what it computes: a checkpoint that is
# continued does not bring them along.
PLACE_FLAGS = (
    "DR",
    "save_root",
    "ckpt_path",
    "warm_start",
    "test",
    "device",
    "compile",
    "gpu",
    "num_workers",
    "cache_dir",
    "preset",
    "wandb",
    "wandb_id",
    "store_visualization",
)


def parse_explicit(parser: ArgumentParser, argv: Sequence[str] | None = None) -> dict:
    """Return only the flags that stand on the command line, by name."""
    unset = object()
    blank = Namespace(**{action.dest: unset for action in parser._actions})
    values = vars(parser.parse_args(argv, blank))
    return {name: value for name, value in values.items() if value is not unset}


def make_settings(
    parser: ArgumentParser, explicit: dict, checkpoint: dict | None = None
) -> Namespace:
    """Fill in what `explicit` leaves open: from the checkpoint's settings, preset, defaults."""
    defaults = {a.dest: a.default for a in parser._actions if a.dest != "help"}
    known = {k: v for k, v in (checkpoint or {}).items() if k in defaults and k not in PLACE_FLAGS}
    chosen = explicit.get("preset") or (checkpoint or {}).get("preset") or defaults["preset"]
    settings = Namespace(**(defaults | PRESETS[chosen] | known | explicit))
    settings.preset = chosen
    if "num_epoch" in explicit and "minutes" not in explicit:
        settings.minutes = None  # who counts in epochs is not stopped by the time of a preset
    for side in ("frame_H", "frame_W"):
        size, patch = getattr(settings, side), settings.patch
        if size % patch or size // patch < 4:  # the pose encoder mirrors three rows at the border
            raise UserError(
                f"--{side} {size}: must be a multiple of --patch {patch}, 4 times at least"
            )
    return settings


def complete(args: Namespace) -> Namespace:
    """Return settings for a Namespace made by the lab's own code, which lacks our flags."""
    given = vars(args) | {}
    if "kl_anneal_type" in given:
        given["kl_anneal_type"] = kl_anneal_type(str(given["kl_anneal_type"]))
    given["wandb"] = bool(given.get("wandb") or given.get("use_wandb"))
    settings = make_settings(tester_parser(), given)
    settings.output_activation = given.get("output_activation")  # None: nobody has said
    if settings.save_root is None:
        settings.save_root = "checkpoints"
    return settings


def check_model_flags(explicit: dict, stored: dict, path: Path) -> None:
    """Raise UserError where a flag on the command line contradicts the checkpoint's model."""
    for name in MODEL_FLAGS:
        if name in explicit and name in stored and explicit[name] != stored[name]:
            raise UserError(
                f"--{name} {explicit[name]} contradicts {path}, whose model has "
                f"{name} = {stored[name]}; leave the flag out, or use another checkpoint"
            )


def as_plain(settings: Namespace) -> dict:
    """Return the settings as plain types, for JSON and for checkpoints."""
    return json.loads(json.dumps(vars(settings), default=str))
