"""The settings of a run, made of what the command line says and what it leaves open.

Precedence: a flag on the command line > the checkpoint that is continued > the preset > the
default.
"""

import argparse
import json
import math
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core import distributed
from core.errors import UserError
from engine.checkpoints.checkpoint import is_ours
from settings.flags import kl_anneal_type, non_negative, tester_parser, trainer_parser
from settings.presets import LAB_WIDTHS, PRESETS
from settings.robot_flags import check_flags_of_model, settle_robot_settings

__all__ = ["LAB_WIDTHS", "PRESETS", "check_flags_of_model", "tester_parser", "trainer_parser"]

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
    "wandb_artifacts",
    "tensorboard",
    "store_visualization",
    "no_report",
    "resume",
    "overwrite",
    "split",
    "GT",
    "export_lab",
    "export_safetensors",
    "no_sanity",
    "make_gif",
    "num_samples",
    "cuda",
)


# Flags that may change when the same command goes on: how long it trains and what it writes.
LENGTH_FLAGS = ("num_epoch", "minutes", "per_save", "per_val", "keep", "save_every_minutes")
RESUME_FLAGS = ("ckpt_path", "warm_start")  # where a run began: part of what it is


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
    checkpoint = checkpoint or {}
    model = explicit.get("model") or checkpoint.get("model") or defaults["model"]
    chosen = explicit.get("preset") or checkpoint.get("preset") or defaults["preset"]
    if chosen not in PRESETS[model]:
        raise UserError(f"--preset {chosen}: --model {model} has {', '.join(PRESETS[model])}")
    settings = Namespace(**(defaults | PRESETS[model][chosen] | known | explicit))
    settings.model, settings.preset = model, chosen
    if "num_epoch" in explicit and "minutes" not in explicit:
        settings.minutes = None  # who counts in epochs is not stopped by the time of a preset
    if model == "svg":
        settle_robot_settings(settings)
        return settings
    for side in ("frame_H", "frame_W"):
        size, patch = getattr(settings, side), settings.patch
        if size % patch or size // patch < 4:  # the pose encoder mirrors three rows at the border
            raise UserError(
                f"--{side} {size}: must be a multiple of --patch {patch}, 4 times at least"
            )
    return settings


def stored_settings(content: dict, path: Path) -> dict:
    """Return the settings a checkpoint holds, each read as its flag is ({} for a lab file).

    Raises UserError where one is not a value its flag would take.
    """
    return check_values(content["settings"], path) if is_ours(content) else {}


def check_values(stored: dict, path: Path) -> dict:
    """Return values of flags by name, as the flags would read them; others are left out.

    Raises UserError where a flag would not take its value.
    """
    checked = {}
    for action in tester_parser()._actions:
        if action.dest not in stored:
            continue
        value = stored[action.dest]
        try:
            checked[action.dest] = _read_as_flag(action, value)
        except (argparse.ArgumentTypeError, ValueError, TypeError) as error:
            said = repr(value)[:80]
            raise UserError(f"{path}: its setting {action.dest} = {said}: {error}") from None
    return checked


def _read_as_flag(action: argparse.Action, value: Any) -> Any:
    """Return the value as argparse would; raise what argparse raises."""
    if value is None and (action.default is None or action.dest == "output_activation"):
        return None  # nobody has said
    if action.nargs == 0 and isinstance(action.const, str):
        return value  # another way to write a flag that has its own check
    if action.nargs == 0 and not isinstance(value, bool):
        raise ValueError("neither true nor false")
    if action.nargs == 0:
        return value
    if action.dest == "holdout":
        value = ":".join(map(str, value))
    if (action.nargs == "+") != (isinstance(value, list) and bool(value)):
        raise ValueError("not a list" if action.nargs == "+" else "a list")
    items = [_read_item(action, item) for item in (value if action.nargs == "+" else [value])]
    return items if action.nargs == "+" else items[0]


def _read_item(action: argparse.Action, value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("not a number or a word")
    kind = action.type or str
    if action.dest == "tfr":  # counted back from the epoch of a lab file it may be beyond 1
        kind = non_negative
    parsed = kind(str(value))
    if action.choices is not None and parsed not in action.choices:
        raise ValueError(f"not one of {', '.join(map(str, action.choices))}")
    return parsed


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
    for name in stored:
        if name in explicit and explicit[name] != stored[name]:
            raise UserError(
                f"--{name} {explicit[name]} contradicts {path}, whose model has "
                f"{name} = {stored[name]}; leave the flag out, or use another checkpoint"
            )


def identity(settings: Namespace) -> dict:
    """Return the settings that make a run what it is: with the same, a command goes on with it."""
    left_out = {*PLACE_FLAGS, *LENGTH_FLAGS} - {*RESUME_FLAGS}
    plain = {name: value for name, value in as_plain(settings).items() if name not in left_out}
    return plain | {"processes": distributed.world_size()}


def global_batch_size(identity: dict) -> int | None:
    """Return how many windows a step of the run takes, in all of its processes; None: unknown."""
    parts = identity.get("batch_size"), identity.get("processes", 1)
    return math.prod(parts) if all(isinstance(part, int) for part in parts) else None


def differences(old: dict, new: dict) -> list[str]:
    """Return in words what differs between two identities, `name: old → new`.

    Another number of processes makes no other run; nor does another --batch_size that makes up
    for it.
    """
    free = {
        "processes",
        *(["batch_size"] if global_batch_size(old) == global_batch_size(new) else []),
    }
    common = [name for name in new if name in old and old[name] != new[name] and name not in free]
    return [f"{name}: {old[name]} → {new[name]}" for name in common]


def as_plain(settings: Namespace) -> dict:
    """Return the settings as plain types, for JSON and for checkpoints."""
    return json.loads(json.dumps(vars(settings), default=str))
