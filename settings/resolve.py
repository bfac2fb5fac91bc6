"""The settings of a run, made of what the command line says and what it leaves open.

Precedence: a flag on the command line > the checkpoint that is continued > the preset > the
default.
"""

import argparse
import itertools
import json
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core.errors import UserError
from settings.flag_types import kl_anneal_type, non_negative
from settings.flags import tester_parser
from settings.models import MODELS
from settings.on_gpu import fit_to_gpu
from settings.parsing import FlagParser


class Settings(Namespace):
    """Resolved settings: read by name, and never changed again."""

    def __init__(self, **values: Any):
        vars(self).update(values)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"settings are frozen; settings.but({name}=…) returns others")

    def but(self, **values: Any) -> "Settings":
        """Return these settings with some values replaced."""
        return Settings(**(vars(self) | values))


def parse_explicit(parser: FlagParser, argv: Sequence[str] | None = None) -> dict:
    """Return only the flags that stand on the command line, by name.

    Raises UserError where two of them say the same thing twice.
    """
    unset = object()
    blank = Namespace(**{action.dest: unset for action in parser._actions})
    values = vars(parser.parse_args(argv, blank))
    explicit = {name: value for name, value in values.items() if value is not unset}
    if {"kl_anneal_cycle", "kl_anneal_period"} <= explicit.keys():
        raise UserError(
            "--kl_anneal_cycle is the number of cycles, --kl_anneal_period the length of one in "
            "epochs: give one of them"
        )
    return explicit


def check_one_checkpoint(argv: Sequence[str] | None, why: str) -> None:
    """Raise UserError, with the reason, where several checkpoints stand on a command line.

    Asked before it is parsed, which would call the second an unknown argument.
    """
    argv = sys.argv[1:] if argv is None else argv
    for at, word in enumerate(argv):
        if word in ("--ckpt_path", "--model_dir"):
            values = [*itertools.takewhile(lambda value: not value.startswith("-"), argv[at + 1 :])]
            if len(values) > 1:
                raise UserError(f"{word} {' '.join(values)}: {why}")


def make_settings(parser: FlagParser, explicit: dict, stored: dict | None = None) -> Settings:
    """Fill in what `explicit` leaves open: from a checkpoint's settings, preset, defaults."""
    defaults, stored = parser.defaults, stored or {}
    inherited = parser.names(lambda scope: scope.inherited)
    known = {name: stored[name] for name in inherited if name in stored}
    model = explicit.get("model") or stored.get("model") or defaults["model"]
    spec = MODELS[model]
    preset = explicit.get("preset") or stored.get("preset") or defaults["preset"]
    if preset not in spec.presets:
        raise UserError(f"--preset {preset}: --model {model} has {', '.join(spec.presets)}")
    values = defaults | spec.presets[preset] | known | explicit
    values |= {"model": model, "preset": preset}
    if preset in spec.gpu_batches:
        fit_to_gpu(values, spec.gpu_batches[preset], explicit.keys() | known.keys())
    if "num_epoch" in explicit and "minutes" not in explicit:
        values["minutes"] = None  # who counts in epochs is not stopped by the time of a preset
    if "kl_anneal_cycle" in explicit and "kl_anneal_period" not in explicit:
        values["kl_anneal_period"] = None  # nor who counts cycles by their length of before
    spec.resolve(values)
    return Settings(**values)


def overrides(settings: Settings) -> dict[str, tuple[Any, Any]]:
    """Return what the preset alone would have set otherwise: by name (own value, preset's)."""
    parser = tester_parser()
    chosen = {name: getattr(settings, name) for name in ("model", "preset", "device")}
    bare = make_settings(parser, chosen)
    said = parser.names(lambda scope: scope.inherited)
    lacks = MODELS[settings.model].lacks
    return {
        name: (getattr(settings, name), getattr(bare, name))
        for name in said
        if parser.model_of.get(name, settings.model) == settings.model
        and name not in lacks
        and hasattr(settings, name)
        and getattr(settings, name) != getattr(bare, name)
    }


def complete(args: Namespace) -> Settings:
    """Return settings for a Namespace made by the lab's own code, which lacks our flags."""
    if isinstance(args, Settings):
        return args
    parser = tester_parser()
    given = present_names(parser, vars(args))
    if "kl_anneal_type" in given:
        given["kl_anneal_type"] = kl_anneal_type(str(given["kl_anneal_type"]))
    given["wandb"] = bool(given.get("wandb") or getattr(args, "use_wandb", False))
    given["save_root"] = given.get("save_root") or "checkpoints"
    return make_settings(parser, given)


def check_flags_of_model(parser: FlagParser, explicit: dict, model: str) -> None:
    """Raise UserError for a flag on the command line that the model does not have."""
    lacks = MODELS[model].lacks
    for name in explicit:
        if (other := parser.model_of.get(name, model)) != model:
            raise UserError(f"--{name} is for --model {other}, not for --model {model}")
        if name in lacks:
            raise UserError(f"--{name} is not for --model {model}: {lacks[name]}")


def check_architecture(explicit: dict, stored: dict, path: Path) -> None:
    """Raise UserError where a flag on the command line contradicts the checkpoint's model."""
    for name in stored:
        if name in explicit and explicit[name] != stored[name]:
            raise UserError(
                f"--{name} {explicit[name]} contradicts {path}, whose model has "
                f"{name} = {stored[name]}; leave the flag out, or use another checkpoint"
            )


def as_plain(settings: Namespace) -> dict:
    """Return the settings as plain types, for JSON and for checkpoints."""
    return json.loads(json.dumps(vars(settings), default=str))


# -------------------------------------------------------------- stored settings


def present_names(parser: FlagParser, stored: dict) -> dict:
    """Return settings by the names they have now; older ones are spellings of a flag.

    What no flag is called stays as it is.
    """
    spellings, present = parser.spellings, {}
    for name, value in stored.items():
        if name == "condition":  # before the flag was its opposite; what is no truth is refused
            opposite = not value if isinstance(value, bool | None) else value
            present.setdefault("action_free", opposite)
        elif name in parser.scopes:
            present[name] = value
        elif name in spellings and not isinstance(spellings[name].const, str):
            present.setdefault(spellings[name].dest, value)
        else:
            present[name] = value
    for name in ("model", "preset"):  # whose values have other names, too
        if isinstance(present.get(name), str):
            present[name] = spellings[name].type(present[name])
    return present


def check_values(stored: dict, path: Path) -> dict:
    """Return values of flags by name, as the flags would read them; others are left out.

    Raises UserError where a flag would not take its value.
    """
    parser, checked = tester_parser(), {}
    stored = present_names(parser, stored)
    for action in parser.flags:
        if action.dest not in stored or isinstance(action.const, str):
            continue  # a const is another way to write a flag that has its own check
        value = stored[action.dest]
        try:
            checked[action.dest] = _read_as_flag(action, value)
        except (argparse.ArgumentTypeError, ValueError, TypeError) as error:
            said = repr(value)[:80]
            raise UserError(f"{path}: its setting {action.dest} = {said}: {error}") from None
    return checked


def _read_as_flag(action: argparse.Action, value: Any) -> Any:
    """Return the value as argparse would; raise what argparse raises."""
    if value is None and action.default is None:
        return None  # nobody has said
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
