"""SIGTERM and SIGINT while training: the first asks to stop, a second stops at once."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interrupted(Exception):
    """Raised inside `StopRequest.interruptible` when a signal arrives there."""


class StopRequest:
    """Within `with StopRequest() as stop`, a signal sets `stop.requested` and nothing else.

    `stop.agreed` is the signal that all processes of the run know of, 0 for none; whoever lets
    them talk sets it. A second signal ends the process at once; files are written so that this
    tears none. Outside the main thread signals cannot be caught, and nothing is ever requested.
    """

    def __init__(self) -> None:
        self.signum = 0
        self.agreed = 0
        self._may_interrupt = False
        self._before: dict = {}

    @property
    def requested(self) -> bool:
        """True once a signal has arrived here."""
        return self.signum != 0

    @property
    def exit_code(self) -> int:
        """The shell's code for the end by that signal: 143 for SIGTERM, 130 for SIGINT."""
        return 128 + self.agreed

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """Let a signal end this block by `Interrupted`; for work that leaves nothing half done."""
        self._may_interrupt = True
        try:
            if self.requested:
                raise Interrupted
            yield
        finally:
            self._may_interrupt = False

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, signum: int, frame) -> None:
        if self.requested:
            os._exit(128 + signum)
        self.signum = signum
        # Not by print, which may be in the middle of a line of its own.
        os.write(2, b"\nstopping: the run is saved first; again to stop at once\n")
        if self._may_interrupt:
            raise Interrupted
