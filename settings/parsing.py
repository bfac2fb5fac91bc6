"""A flag as it is declared: what argparse takes, its models, and what it decides about."""

import argparse
import difflib
from argparse import ArgumentParser, BooleanOptionalAction
from collections.abc import Callable, Collection
from enum import Enum
from typing import Any, NoReturn


class Scope(Enum):
    """What a flag decides about, as (inherited, in_fingerprint).

    inherited: a run that continues a checkpoint takes the value that is stored there.
    in_fingerprint: the same command resumes only where the value is the same.
    """

    RECIPE = (True, True)  # what the run computes
    LENGTH = (True, False)  # how long it trains, and how often it writes
    START = (False, True)  # where it begins
    PLACE = (False, False)  # where and how it is carried out

    @property
    def inherited(self) -> bool:
        return self.value[0]

    @property
    def in_fingerprint(self) -> bool:
        return self.value[1]


SWITCH = BooleanOptionalAction  # --name and --no-name
MARK = "store_true"  # --name


class Flag:
    """A row of a table of flags: its names, how its value is read, its default, help and scope.

    names: the first is that of the setting, the others are other spellings of it. kind: a type for
    argparse, a list of choices, or an action (`SWITCH`, `MARK`). What else `add_argument` takes
    follows by name.
    """

    def __init__(
        self,
        names: str,
        kind: Callable | list | str,
        default: Any,
        help: str,
        scope: Scope = Scope.RECIPE,
        **options: Any,
    ):
        name = "action" if kind is SWITCH or isinstance(kind, str) else "type"
        name = "choices" if isinstance(kind, list) else name
        self.names, self.scope = names.split(), scope
        self.options = {name: kind, "default": default, "help": help} | options


FlagTable = dict[str, list[Flag]]  # by the title under which --help lists them


class FlagParser(ArgumentParser):
    """An ArgumentParser whose flags know their scope and their models."""

    def __init__(self, **options: Any):
        super().__init__(allow_abbrev=False, formatter_class=HelpFormatter, **options)
        self._titled: dict[str, argparse._ArgumentGroup] = {}
        self.scopes: dict[str, Scope] = {}  # by name of the setting
        self.model_of: dict[str, str] = {}  # of flags that are for one model alone

    def add(self, table: FlagTable, model: str | None = None) -> None:
        """Add flags, of one model alone where it is given."""
        for title, flags in table.items():
            if title not in self._titled:
                self._titled[title] = self.add_argument_group(title)
            for flag in flags:
                action = self._titled[title].add_argument(*flag.names, **flag.options)
                self.scopes[action.dest] = flag.scope
                if model is not None:
                    self.model_of[action.dest] = model

    def take_several(self, name: str, help: str) -> None:
        """Let a flag take several values on the command line, as a list."""
        (action,) = (action for action in self.flags if action.dest == name)
        action.nargs, action.help = "+", help

    def under(self, title: str) -> list[str]:
        """Return the settings whose flags stand under a title of the help."""
        return [action.dest for action in self._titled[title]._group_actions]

    def hide_all_but(self, names: Collection[str]) -> None:
        """Leave out of the help what is not named; it is accepted all the same."""
        for action in self.flags:
            if action.dest not in names:
                action.help = argparse.SUPPRESS

    def error(self, message: str) -> NoReturn:
        """End with exit code 2; for an unknown flag name the one that was meant."""
        known = [s for action in self._actions for s in action.option_strings]
        for word in message.partition("unrecognized arguments: ")[2].split():
            near = difflib.get_close_matches(word.split("=")[0], known, n=1, cutoff=0.75)
            if word.startswith("--") and near:
                message += f"; did you mean {near[0]}?"
                break
        super().error(message)

    @property
    def flags(self) -> list[argparse.Action]:
        """Every flag but --help, in the order of declaration."""
        return [action for action in self._actions if action.dest in self.scopes]

    @property
    def defaults(self) -> dict[str, Any]:
        """The defaults by name of the setting."""
        return {action.dest: action.default for action in self.flags}

    @property
    def spellings(self) -> dict[str, argparse.Action]:
        """Every spelling of every flag, without its dashes."""
        return {s.removeprefix("--"): a for a in self.flags for s in a.option_strings}

    def names(self, has: Callable[[Scope], bool]) -> list[str]:
        """Return the settings whose scope has a property."""
        return [name for name, scope in self.scopes.items() if has(scope)]


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Adds the default to the help of a flag that has one to speak of.

    Descriptions keep their lines.
    """

    def _get_help_string(self, action: argparse.Action) -> str:
        unspoken = action.default is None or isinstance(action.default, bool)
        if unspoken or action.default is argparse.SUPPRESS or "default" in action.help:
            return action.help
        if isinstance(action.default, list):
            return f"{action.help} (default: {' '.join(map(str, action.default))})"
        return f"{action.help} (default: {action.default})"
