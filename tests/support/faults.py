"""Faults at file operations: a process killed, or an error raised, at each of them in turn.

`Faults` stands in for what Python calls the system with: open for writing, write, fsync, replace,
rename, link, unlink, mkdir, rmdir. They are counted; at the chosen one

- `kill`: nothing happens any more, as if the process had been killed before it. Every operation
  after it, those that would tidy up among them, does nothing either; only locks are let go.
  A file is killed in the middle of its first write, and half of that is in it.
- `refuse`: it is not done and raises OSError, once.
- `fail`: it is done and raises OSError all the same, once.
"""

import builtins
import contextlib
import errno
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.checkpoints.writer import Saver

ONE_PATH = ("mkdir", "rmdir", "unlink", "remove")
TWO_PATHS = ("replace", "rename", "link")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
KINDS = ("kill", "refuse", "fail")


class Killed(BaseException):
    """The process is no more."""


class Faults:
    """Within `with`, counts the operations on files below `folder`; a fault at number `at`.

    `done` then says which they were, in words.
    """

    def __init__(self, folder: Path, at: int | None = None, kind: str = "kill"):
        self.folder, self.at, self.kind = str(folder.resolve()), at, kind
        self.done: list[str] = []
        self.is_dead = False
        self._patch = pytest.MonkeyPatch()

    def __enter__(self) -> "Faults":
        for name in ONE_PATH + TWO_PATHS:
            self._patch.setattr(os, name, self._watched(name, getattr(os, name)))
        self._patch.setattr(os, "fsync", self._watched_fsync(os.fsync))
        self._patch.setattr(os, "open", self._watched_open(os.open))
        for module in (io, builtins):
            self._patch.setattr(module, "open", self._watched_file(io.open))
        return self

    def __exit__(self, *_) -> None:
        self._patch.undo()

    def at_operation(self, words: str, work: Callable[[], Any], half: Callable = lambda: None):
        """Do an operation, or what the fault makes of it; half: what a kill leaves of it."""
        if self.is_dead:
            raise Killed
        self.done.append(words)
        if len(self.done) - 1 != self.at:
            return work()
        if self.kind == "kill":
            self.is_dead = True
            half()
            raise Killed
        if self.kind == "fail":
            work()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), words)

    def _is_inside(self, *paths: Any) -> bool:
        return any(
            (os.path.abspath(os.fsdecode(path)) + os.sep).startswith(self.folder + os.sep)
            for path in paths
            if not isinstance(path, int)
        )

    def _watched(self, name: str, real: Callable) -> Callable:
        def call(path, *others, **named):
            paths = (path, *others[: name in TWO_PATHS])
            if named.get("dir_fd") is not None or not self._is_inside(*paths):
                return real(path, *others, **named)
            words = f"{name} {' '.join(os.path.basename(os.fsdecode(p)) for p in paths)}"
            return self.at_operation(words, lambda: real(path, *others, **named))

        return call

    def _watched_fsync(self, real: Callable) -> Callable:
        def call(descriptor):
            number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
            with contextlib.suppress(OSError):  # where the system does not tell, all count
                if not self._is_inside(os.readlink(f"/proc/self/fd/{number}")):
                    return real(descriptor)
            return self.at_operation("fsync", lambda: real(descriptor))

        return call

    def _watched_open(self, real: Callable) -> Callable:
        def call(path, flags, *others, **named):
            if not flags & WRITING or not self._is_inside(path):
                return real(path, flags, *others, **named)
            words = f"open {os.path.basename(os.fsdecode(path))}"
            return self.at_operation(words, lambda: real(path, flags, *others, **named))

        return call

    def _watched_file(self, real: Callable) -> Callable:
        def call(path, mode="r", *others, **named):
            if not set(mode) & set("wxa+") or not self._is_inside(path):
                return real(path, mode, *others, **named)
            name = os.path.basename(os.fsdecode(path))
            opened = self.at_operation(f"create {name}", lambda: real(path, mode, *others, **named))
            return WatchedFile(self, opened, name)

        return call


class WatchedFile:
    """A file whose first write is an operation."""

    def __init__(self, faults: Faults, file: Any, name: str):
        self._faults, self._file, self._name, self._begun = faults, file, name, False

    def write(self, data) -> int:
        if self._faults.is_dead:
            raise Killed
        if self._begun:
            return self._file.write(data)
        self._begun = True

        def half() -> None:
            self._file.write(data[: len(data) // 2])

        return self._faults.at_operation(
            f"write {self._name}", lambda: self._file.write(data), half
        )

    def __enter__(self) -> "WatchedFile":
        return self

    def __exit__(self, *_) -> None:
        self._file.close()

    def __iter__(self):
        return iter(self._file)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@pytest.fixture
def in_one_order(monkeypatch) -> None:
    """Let checkpoints be written before training goes on, and no test wait for a disk."""
    save = Saver.save

    def save_and_wait(self, files):
        save(self, files)
        self.wait()

    monkeypatch.setattr(Saver, "save", save_and_wait)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def operations_of(folder: Path, work: Callable[[], Any]) -> list[str]:
    """Return the operations of undisturbed work."""
    with Faults(folder) as faults:
        work()
    return faults.done


@contextlib.contextmanager
def dying() -> Iterator[None]:
    """Take the end of a killed process for what it is."""
    with contextlib.suppress(Killed):
        yield
