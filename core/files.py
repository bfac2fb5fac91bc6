"""Writing files so that a reader only ever sees whole ones."""

import contextlib
import errno
import json
import os
import re
import secrets
import shutil
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from core.errors import UserError, why

try:
    import fcntl
except ImportError:  # Windows, where nobody can remove a file that is open
    fcntl = None

_LEFTOVER = re.compile(r"\..+\.\d+-[0-9a-f]+(\.link)?\.tmp")  # what `atomic_write` calls its own


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
    temporary, file, lock = _open_temporary(path)
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if keep:
            _keep_earlier(path, keep, temporary.with_suffix(".link.tmp"))
        os.replace(temporary, path)
        _flush_folder(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    finally:
        if lock is not None:
            os.close(lock)


def check_new(out: Path) -> None:
    """Raise UserError where `out` is a file, or a folder with something in it."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"--out {out}: exists already; remove it, or name another folder")


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield a folder to fill, which becomes `path` when the block ends; nothing where it raises.

    `path` must be no folder yet, or an empty one.
    """
    path = path.absolute()
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.mkdir(parents=True)
        yield partial
        if path.exists():  # empty: Windows does not rename onto it
            path.rmdir()
        partial.rename(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _open_temporary(path: Path) -> tuple[Path, BinaryIO, int | None]:
    """Create a file beside `path`; return it, and a descriptor that keeps it locked while open.

    The lock tells `remove_leftovers` that somebody is writing. Not by tempfile, whose files are
    private: these are to have the permissions of any other.
    """
    while True:
        name = f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp"
        temporary = path.with_name(name)
        file = temporary.open("xb")
        if fcntl is None:
            return temporary, file, None
        lock = os.dup(file.fileno())
        with contextlib.suppress(OSError):  # not every file system has locks
            fcntl.flock(lock, fcntl.LOCK_EX)
        if os.fstat(lock).st_nlink:
            return temporary, file, lock
        file.close()  # taken for a leftover before it was locked
        os.close(lock)


def earlier(path: Path, age: int) -> Path:
    """Return where `atomic_write(path, keep=…)` leaves the file of `age` writings ago."""
    return path.with_stem(f"{path.stem}-{age}") if age else path


def _keep_earlier(path: Path, keep: int, temporary: Path) -> None:
    """Move every kept file on by one; `path` itself is never missing meanwhile.

    Where two neighbors are one file, a process was killed doing this: what was older has moved on
    already, and moving it again would lose the oldest.
    """
    begun = (
        age for age in range(1, keep + 1) if _is_one(earlier(path, age - 1), earlier(path, age))
    )
    for age in range(next(begun, keep + 1) - 1, 0, -1):
        newer = earlier(path, age - 1)
        if newer.exists():
            try:
                _link(newer, temporary)
                os.replace(temporary, earlier(path, age))
            finally:
                temporary.unlink(missing_ok=True)


def _is_one(path: Path, other: Path) -> bool:
    """Tell whether two names are those of one file."""
    try:
        return os.path.samestat(path.lstat(), other.lstat())
    except OSError:
        return False


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
    """Remove temporary files that a killed process left, and no others: who writes holds a lock."""
    for path in folder.glob(".*.tmp"):
        if _LEFTOVER.fullmatch(path.name):
            with contextlib.suppress(OSError), _nobody_writing(path) as abandoned:
                if abandoned:
                    path.unlink()


@contextlib.contextmanager
def _nobody_writing(path: Path) -> Iterator[bool]:
    """Tell whether the writer of a temporary file is gone; within the block none can come."""
    own = path.with_name(path.name.replace(".link.tmp", ".tmp"))
    if fcntl is None or not own.exists():
        yield True
        return
    descriptor = os.open(own, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # somebody writes, or the file system cannot tell
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def printable(name: str) -> str:
    """Return the name of a file as text that any encoding takes; it may be any bytes."""
    return os.fsencode(name).decode(errors="replace")


def parse_json(text: str | bytes) -> Any:
    """Parse JSON. Raises ValueError for what is none, nests without end being none either."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


@contextlib.contextmanager
def warn_on_write_error(what: str) -> Iterator[None]:
    """Report a failed write and go on: a run is worth more than one of its pictures."""
    try:
        yield
    except OSError as error:
        print(f"{what} could not be written: {why(error)}; going on", file=sys.stderr)
