"""Standard output and error as streams that never end a program."""

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO


class UnfailingStream:
    """Passes text on; what the other end does not take is lost, and nothing is raised.

    A reader that went away (`| head`), a log file on a full disk: what a program works on is worth
    more than what it says. Where the disk has room again, so has the log.
    """

    def __init__(self, stream: TextIO):
        self._stream = stream
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files may be any bytes

    def write(self, text: str) -> int:
        """Write what can be written; return the length of all of it."""
        with contextlib.suppress(OSError, ValueError):  # ValueError: the stream is closed
            self._stream.write(text)
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        """Write what can be written."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flush what can be flushed."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()

    def end(self) -> None:
        """Flush for the last time. What fails now would fail, with a traceback, at exit again."""
        try:
            self._stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
                self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def unfailing_output() -> Iterator[None]:
    """Within the block, printing raises nothing; tqdm and other libraries print there too."""
    before = sys.stdout, sys.stderr
    with open(os.devnull, "w") as nowhere:  # for streams that the caller closed
        streams = [UnfailingStream(nowhere if stream is None else stream) for stream in before]
        sys.stdout, sys.stderr = streams
        try:
            yield
        finally:
            sys.stdout, sys.stderr = before
            for stream in streams:
                stream.end()


def say_at_once(text: str) -> None:
    """Write to standard error past what is being written there; for signal handlers."""
    with contextlib.suppress(OSError):
        os.write(2, text.encode())
