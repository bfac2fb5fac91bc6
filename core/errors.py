"""Errors that are the user's to mend: one line, no traceback, exit code 2."""

import contextlib
import functools
import os
import sys
from collections.abc import Callable, Iterator
from typing import NoReturn

from core.output import unfailing_output
from core.signals import end_on_signals


class UserError(Exception):
    """Bad input. The message names the file or flag and the way out."""


def why(error: OSError) -> str:
    """Return what the system says, with the file if it names one; NumPy's errors have neither."""
    if not error.strerror:
        return str(error) or type(error).__name__
    return f"{error.strerror} ({os.fsdecode(error.filename)})" if error.filename else error.strerror


def exit_on_user_error(main: Callable[[], None]) -> Callable[[], None]:
    """Decorate the `main` of a script: a UserError ends it with exit code 2, no traceback.

    So does what the system refuses: a folder that may not be read, a full disk. SIGTERM, SIGHUP
    and SIGINT end it with 143, 129 and 130, what is open being closed. Trouble with its output
    (`| head`, a log on a full disk) does not end it.
    """

    @functools.wraps(main)
    def wrapped() -> None:
        with unfailing_output():
            end_on_signals()
            try:
                with advising_on_memory():
                    main()
            except UserError as error:
                refuse(str(error))
            except KeyboardInterrupt:
                print("interrupted", file=sys.stderr)
                sys.exit(130)
            except OSError as error:
                place = f"{os.fsdecode(error.filename)}: " if error.filename else ""
                refuse(f"{place}{error.strerror or error}")

    return wrapped


def refuse(message: str) -> NoReturn:
    """End with exit code 2 and one line; what a terminal would act on is spelled out."""
    spelled = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in message)
    print(f"error: {''.join(spelled)}", file=sys.stderr)
    sys.exit(2)


@contextlib.contextmanager
def advising_on_memory() -> Iterator[None]:
    """Turn running out of memory, on any device, into a UserError that names what helps."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        text = str(error)
        if not isinstance(error, MemoryError) and not any(s in text for s in _OUT_OF_MEMORY):
            raise
        line = text.splitlines()[0][:200] if text else "MemoryError"
        raise UserError(
            f"out of memory ({line}); lower --batch_size, --train_vi_len, the widths "
            "(--F_dim, --D_out_dim) or --frame_H and --frame_W, or compute in --precision bf16"
        ) from None


# torch.OutOfMemoryError is a RuntimeError; the CPU's allocator has no class of its own.
# "Could not create a primitive" is oneDNN's way to say it, under `ulimit -v` for one.
_OUT_OF_MEMORY = (
    *("out of memory", "can't allocate memory", "not enough memory", "Cannot allocate memory"),
    *("could not create a primitive", "can't start new thread", "std::bad_alloc"),
)
