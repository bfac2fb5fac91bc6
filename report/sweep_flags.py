"""The flags of the Trainer as a sweep takes them: with any number of values each."""

import argparse
import itertools
import re
from collections.abc import Callable, Sequence
from hashlib import sha256

from core.errors import UserError
from settings.flags import trainer_parser

# What the sweep itself decides, or what makes no run of its own.
NOT_SWEPT = {
    "DR": "one sweep has one data set",
    "save_root": "a sweep makes its run folders below --out",
    "ckpt_path": "the runs of a sweep begin anew; --warm_start begins from the weights of a file",
    "wandb_id": "every run has an id of its own",
    "device": "give --devices",
    "test": "a sweep trains",
    "dry_run": "a sweep trains",
}
FIRST_IN_NAMES = ("kl_anneal_type", "kl_anneal_cycle", "kl_anneal_ratio", "tfr")  # as ever
LONGEST_NAME = 120  # characters


def flag_actions() -> dict[str, argparse.Action]:
    """Return the flags of the Trainer that take part in a sweep, by name of the setting."""
    return {
        action.dest: action
        for action in trainer_parser().flags
        if not isinstance(action.const, str) and action.dest not in {*NOT_SWEPT, "gpu", "cuda"}
    }


def add_swept_flags(group: argparse._ArgumentGroup) -> None:
    """Let a parser take any number of values of every flag; its help does not list them all."""
    for name, action in flag_actions().items():
        spellings = [s for s in action.option_strings if not s.startswith("--no-")]
        group.add_argument(
            *spellings,
            type=_reader(action),
            nargs="*",
            action="extend",
            dest=name,
            metavar="VALUE",
            help=argparse.SUPPRESS,
        )


def choices_of(given: argparse.Namespace) -> dict[str, list[str]]:
    """Return the values of every flag that was given some. Raises UserError."""
    order = [*FIRST_IN_NAMES, *(name for name in flag_actions() if name not in FIRST_IN_NAMES)]
    choices = {name: getattr(given, name) for name in order}
    choices = {name: values for name, values in choices.items() if values is not None}
    for name, values in choices.items():
        if not values:
            raise UserError(f"--{name}: no values; say which, as in --{name} A B")
        if twice := [value for value in values if values.count(value) > 1]:
            raise UserError(f"--{name} {twice[0]}: stands there twice")
    return choices


def as_words(flags: dict[str, str]) -> list[str]:
    """Return the flags of one run as on the command line of the Trainer."""
    actions, words = flag_actions(), []
    for name, value in flags.items():
        action = actions[name]
        if action.nargs == 0:
            off = [s for s in action.option_strings if s.startswith("--no-")]
            words += [f"--{name}"] if value == "on" else off[:1]
        else:
            words += [f"--{name}", *(value.split(",") if action.nargs == "+" else [value])]
    return words


def _reader(action: argparse.Action) -> Callable[[str], str]:
    """Return a type for argparse that reads one value of the flag, and gives it back as text.

    A switch is on or off; the parts of a value that is a list are parted by commas.
    """

    def read(text: str) -> str:
        if action.nargs == 0:
            if text not in ("on", "off"):
                raise argparse.ArgumentTypeError(f"{text!r} is neither on nor off")
            return text
        parts = text.split(",") if action.nargs == "+" else [text]
        return ",".join(_as_text(_read_one(action, part)) for part in parts)

    read.__name__ = getattr(action.type, "__name__", "word")  # argparse names it in its message
    return read


def _read_one(action: argparse.Action, text: str) -> object:
    value = (action.type or str)(text)
    if action.choices is not None and value not in action.choices:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not one of {', '.join(map(str, action.choices))}"
        )
    return value


def _as_text(value: object) -> str:
    """Return a value as its flag reads it; numbers that are equal give the same text."""
    if isinstance(value, float):
        short = f"{value:g}"
        return short if float(short) == value else repr(value)
    return ":".join(map(str, value)) if isinstance(value, tuple) else str(value)


# --------------------------------------------------------------------- experiments

Experiments = dict[str, dict[str, str]]  # the flags of each by its name


def grid(choices: dict[str, Sequence[str]]) -> Experiments:
    """Return an experiment for each combination of the flags' values, named after it."""
    varied = {name: values for name, values in choices.items() if name != "seed"}
    arms = [dict(zip(varied, values)) for values in itertools.product(*varied.values())]
    return _from_every_seed(arms, choices)


def one_at_a_time(choices: dict[str, Sequence[str]]) -> Experiments:
    """Return the first value of every flag, and what differs from it in one; each from every seed.

    Raises UserError where nothing would differ.
    """
    varied = {name: values for name, values in choices.items() if name != "seed"}
    if all(len(values) < 2 for values in varied.values()):
        raise UserError("--one_at_a_time: no flag has two values; the first of each is the base")
    base = {name: values[0] for name, values in varied.items()}
    others = [base | {name: value} for name, values in varied.items() for value in values[1:]]
    return _from_every_seed([base, *others], choices)


def _from_every_seed(arms: Sequence[dict[str, str]], choices: dict) -> Experiments:
    """Return the arms from every seed: all from the first, so that a part of it compares them."""
    seeds = [{"seed": seed} for seed in choices.get("seed", ())] or [{}]
    return {name_of(arm | seed): arm | seed for seed in seeds for arm in arms}


def name_of(flags: dict[str, str]) -> str:
    """Return the name of an experiment, which any file system takes as a folder."""
    name = "_".join(f"{flag.removeprefix('kl_anneal_')}={v}" for flag, v in flags.items())
    safe = re.sub(r"[^\w.,=+-]", "-", name, flags=re.ASCII)
    if safe == name and len(name) <= LONGEST_NAME:
        return name
    return f"{safe[:LONGEST_NAME]}-{sha256(name.encode()).hexdigest()[:6]}"
