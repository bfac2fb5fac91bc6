"""A flag as it is declared: what argparse takes, its models, and what it decides about."""

import argparse
import difflib
from argparse import ArgumentParser
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


class FlagParser(ArgumentParser):
    """An ArgumentParser whose flags know their scope and their models.

    Add flags by `add = parser.group(title, scope)`; `add` takes what `add_argument` takes, and a
    `scope` of its own where it differs. Within `parser.flags_of(model)` the flags are for that
    model alone.
    """

    def __init__(self, **options: Any):
        super().__init__(allow_abbrev=False, formatter_class=HelpFormatter, **options)
        self._titled: dict[str, argparse._ArgumentGroup] = {}
        self._model: str | None = None
        self.scopes: dict[str, Scope] = {}  # by name of the setting
        self.model_of: dict[str, str] = {}  # of flags that are for one model alone
        self.group_of: dict[str, str] = {}  # the title over a flag in the help

    def group(self, title: str, scope: Scope = Scope.RECIPE, help: str | None = None) -> Callable:
        """Return what adds a flag to the group of that title."""
        if title not in self._titled:
            self._titled[title] = self.add_argument_group(title, help)

        def add(*names: str, scope: Scope = scope, **options: Any) -> None:
            action = self._titled[title].add_argument(*names, **options)
            self.scopes[action.dest] = scope
            self.group_of[action.dest] = title
            if self._model is not None:
                self.model_of[action.dest] = self._model

        return add

    def add_flags_of(self, model: str, declare: Callable[["FlagParser"], None]) -> None:
        """Let `declare` add the flags that only `model` has."""
        self._model = model
        declare(self)
        self._model = None

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
