"""Errors that are the user's to mend: one line, no traceback, exit code 2."""

import functools
import sys
from collections.abc import Callable


class UserError(Exception):
    """Bad input. The message names the file or flag and the way out."""


def exit_on_user_error(main: Callable[[], None]) -> Callable[[], None]:
    """Decorate the `main` of a script so that a UserError ends it with exit code 2."""

    @functools.wraps(main)
    def wrapped() -> None:
        try:
            main()
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)

    return wrapped
