"""Signals: a program ends in order; a training is asked to stop, and stops at once at a second."""

import contextlib
import ctypes
import os
import signal
import sys
import threading
from collections.abc import Iterator

from core.output import say_at_once

# Of a closed terminal too, which Windows does not tell.
SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name)
)
PARENT = "ENDS_WITH_PROCESS"  # environment: whose end is that of the process that is told so
_PR_SET_PDEATHSIG = 1  # in linux/prctl.h


def end_on_signals() -> None:
    """Let SIGTERM and SIGHUP raise SystemExit and SIGINT KeyboardInterrupt, and follow a parent.

    A signal that the caller has ignored (`nohup`) stays so. Outside the main thread, which alone
    gets signals, nothing is done.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else _end)
    if "TORCHELASTIC_RUN_ID" in os.environ:
        end_with_parent()
    elif PARENT in os.environ:
        end_with_parent()
        if os.getppid() != int(os.environ[PARENT]):  # it has gone already
            sys.exit(128 + signal.SIGTERM)


def _end(signum: int, frame: object) -> None:
    sys.exit(128 + signum)


def end_with_parent() -> None:
    """Have the system send SIGTERM when the process that started this one ends, however it does.

    Linux alone can; elsewhere a killed parent leaves its children running.
    """
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Hold signals back within the block, and let them come when it is over.

    For work that an exception at any line would break in a way of its own, such as the capture of
    a CUDA graph. Outside the main thread, which alone gets signals, nothing is done.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []
    heeded = [n for n in SIGNALS if callable(signal.getsignal(n))]
    before = {n: signal.signal(n, lambda signum, _: arrived.append(signum)) for n in heeded}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in arrived:
            signal.raise_signal(number)


class Interrupted(Exception):
    """Raised inside `StopRequest.interruptible` when a signal arrives there."""


class StopRequest:
    """Within `with StopRequest() as stop`, a signal sets `stop.requested` and nothing else.

    `stop.continued` is set where the process has stood still and was continued (SIGSTOP, Ctrl-Z, a
    scheduler that suspends); who asks for it sets it back.

    `stop.agreed` is the signal that all processes of the run know of, 0 for none; whoever lets
    them talk sets it. A second signal ends the process at once; files are written so that this
    tears none. Outside the main thread signals cannot be caught, and nothing is ever requested.
    """

    def __init__(self) -> None:
        self.signum = 0
        self.agreed = 0
        self.continued = False
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
            heeded = [n for n in SIGNALS if signal.getsignal(n) is not signal.SIG_IGN]
            self._before = {number: signal.signal(number, self._note) for number in heeded}
            if hasattr(signal, "SIGCONT"):
                self._before[signal.SIGCONT] = signal.signal(signal.SIGCONT, self._note_continued)
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note_continued(self, signum: int, frame: object) -> None:
        self.continued = True

    def _note(self, signum: int, frame) -> None:
        if self.requested:
            os._exit(128 + signum)
        self.signum = signum
        # Not by print, which may be in the middle of a line of its own.
        say_at_once("\nstopping: the run is saved first; again to stop at once\n")
        if self._may_interrupt:
            raise Interrupted
