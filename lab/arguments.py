"""`args` as the lab's classes take them: a Namespace of its flags, or of ours."""

import difflib
import warnings
from argparse import Namespace
from typing import Any

from settings.flags import tester_parser
from settings.resolve import Settings, complete


class Arguments(Settings):
    """Settings that may be assigned to, as scripts of the lab do; what runs later reads them."""

    def __setattr__(self, name: str, value: Any) -> None:
        vars(self)[name] = value


def complete_arguments(args: Namespace) -> Arguments:
    """Return `args` with the defaults of what it lacks; warn of names that no flag has."""
    if not isinstance(args, Settings):
        warn_of_unknown_names(args)
    return Arguments(**vars(complete(args)))


def warn_of_unknown_names(args: Namespace) -> None:
    """Warn of every name that no flag has, with the nearest one that a flag has."""
    known = list(tester_parser().spellings)
    for name in sorted(vars(args).keys() - set(known)):
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.75)
        meant = f"did you mean {near[0]}?" if near else "only code of your own will read it"
        warnings.warn(f"args.{name} is no flag: {meant}", stacklevel=4)
