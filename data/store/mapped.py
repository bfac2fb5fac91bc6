"""Files that are mapped into memory: where one is cut short meanwhile, the program ends saying so.

The system tells it by SIGBUS, in the middle of whatever reads the frames. Python's handlers run
after the instruction that failed, which never ends; this one runs in its place.
"""

import contextlib
import ctypes
import os
import signal
from pathlib import Path

from core.output import say_at_once

_sizes: dict[str, int] = {}  # bytes, by path
_handler = None  # kept, since the system has its address


def watch_mapped(path: Path) -> None:
    """Let a read beyond the end of this file, as long as it is now, end the program with code 2."""
    global _handler
    _sizes[os.path.abspath(path)] = path.stat().st_size
    if _handler is None and hasattr(signal, "SIGBUS"):
        _handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(_end)
        _set_handler(ctypes.cast(_handler, ctypes.c_void_p))


def _set_handler(address: ctypes.c_void_p) -> None:
    system = ctypes.CDLL(None)
    system.signal.argtypes = (ctypes.c_int, ctypes.c_void_p)
    system.signal.restype = ctypes.c_void_p
    system.signal(signal.SIGBUS, address)


def _end(signum: int) -> None:
    for path, size in _sizes.items():
        with contextlib.suppress(OSError):
            if os.stat(path).st_size < size:
                say_at_once(
                    f"\nerror: {os.fsencode(path).decode(errors='replace')}: cut short while it "
                    "was read; the same command once more makes it anew, or goes on\n"
                )
                os._exit(2)
    _set_handler(ctypes.c_void_p(0))  # SIG_DFL: not one of ours, and it happens again at once
