"""Writing files so that a reader only ever sees whole ones."""

import contextlib
import errno
import os
import re
import shutil
import stat
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from core.errors import why

_LEFTOVER = re.compile(r"\..+\.\d+-\d+(\.link)?\.tmp")  # what `atomic_write` calls its own


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading. Raises OSError for what is no file; a pipe is not waited for."""
    if not stat.S_ISREG(os.stat(path).st_mode):  # before opening: some devices act on that
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    return os.fdopen(os.open(path, flags), "rb")


@contextlib.contextmanager
def atomic_write(path: Path, *, keep: int = 0) -> Iterator[BinaryIO]:
    """Open a temporary file beside `path`; flush it to disk and rename it when the block ends.

    Where the block raises, `path` stays as it was and nothing is left behind. A link at `path` is
    replaced and not followed. With `keep`, the files it held before stay beside it as
    `NAME-1.SUFFIX` (the newest of them) to `NAME-keep`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not by tempfile, whose files are private: these are to have the permissions of any other.
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if keep:
            _keep_earlier(path, keep, temporary.with_suffix(".link.tmp"))
        os.replace(temporary, path)
        _flush_folder(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def earlier(path: Path, age: int) -> Path:
    """Return where `atomic_write(path, keep=…)` leaves the file of `age` writings ago."""
    return path.with_stem(f"{path.stem}-{age}") if age else path


def _keep_earlier(path: Path, keep: int, temporary: Path) -> None:
    """Move every kept file on by one; `path` itself is never missing meanwhile."""
    for age in range(keep, 0, -1):
        newer = earlier(path, age - 1)
        if newer.exists():
            try:
                _link(newer, temporary)
                os.replace(temporary, earlier(path, age))
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise


def _link(path: Path, other: Path) -> None:
    """Give a file a second name, or copy it where the file system has no links."""
    try:
        os.link(path, other)
    except FileExistsError:
        raise
    except OSError:
        with open_regular(path) as source, other.open("xb") as target:
            shutil.copyfileobj(source, target)
            target.flush()
            os.fsync(target.fileno())


def _flush_folder(folder: Path) -> None:
    """Flush the renaming to disk, where the system can."""
    with contextlib.suppress(OSError, AttributeError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files that a killed process left; nobody else may be writing there."""
    for path in folder.glob(".*.tmp"):
        if _LEFTOVER.fullmatch(path.name):
            with contextlib.suppress(OSError):
                path.unlink()


@contextlib.contextmanager
def warn_on_write_error(what: str) -> Iterator[None]:
    """Report a failed write and go on: a run is worth more than one of its pictures."""
    try:
        yield
    except OSError as error:
        print(f"{what} could not be written: {why(error)}; going on", file=sys.stderr)
