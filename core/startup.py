"""What a script does before it imports anything else, which takes seconds.

Imported for its effect, as the first line of each script where it is run, and not imported.
"""

import os
import signal

from core.output import say_at_once


def _end(signum: int, frame: object) -> None:
    """End at once: nothing has begun yet. Raised in an import, an exception may be swallowed."""
    say_at_once("interrupted\n")
    os._exit(128 + signum)


def open_standard_streams() -> None:
    """Give standard input, output and error somewhere to go where the caller closed them.

    The next file to be opened would take the free number otherwise, be it a checkpoint, and get
    what a library prints.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


open_standard_streams()
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, _end)
