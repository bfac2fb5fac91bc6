"""What a script does before it imports anything else, which takes seconds.

Imported for its effect, as the first line of each script where it is run, and not imported.
"""

import os
import signal
import sys
from types import TracebackType

from core.output import say_at_once

_NO_MEMORY = ("failed to map segment", "cannot allocate memory", "Cannot allocate memory")


def _end(signum: int, frame: object) -> None:
    """End at once: nothing has begun yet. Raised in an import, an exception may be swallowed."""
    say_at_once("interrupted\n")
    os._exit(128 + signum)


def _explain(kind: type, error: BaseException, trace: TracebackType | None) -> None:
    """Say in one line that memory does not suffice for the libraries; all else as before."""
    if isinstance(error, MemoryError) or any(words in str(error) for words in _NO_MEMORY):
        say_at_once(f"error: not enough memory to load the libraries ({error}); see ulimit -v\n")
        os._exit(2)
    sys.__excepthook__(kind, error, trace)


def open_standard_streams() -> None:
    """Give standard input, output and error somewhere to go where the caller closed them.

    The next file to be opened would take the free number otherwise, be it a checkpoint, and get
    what a library prints.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


open_standard_streams()
sys.excepthook = _explain
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, _end)
