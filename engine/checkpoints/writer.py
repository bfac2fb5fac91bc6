"""Checkpoints of a running training, written in the background while it goes on."""

import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from engine.checkpoints import checkpoint


class Saver:
    """Writes checkpoints into a run folder, one at a time, in a thread.

    A write that fails is reported and leaves the earlier file whole; `failed` then says why, by
    name of the file, until it is written. `best.ckpt` is tried again with the next save, since
    nobody will make its content anew. `check_folder` is called before every file, and what it
    raises comes out of the next `save`, `wait` or `close`.
    """

    def __init__(
        self,
        folder: Path,
        keep: int,
        every_minutes: float,
        check_folder: Callable[[], None] = lambda: None,
    ):
        self.folder = folder
        self.failed: dict[str, str] = {}
        self.written: set[str] = set()  # names of files
        self._again: dict[str, dict] = {}
        self._check_folder = check_folder
        self._keep = keep
        self._interval = 60 * every_minutes
        self._saved = time.perf_counter()
        self._pool = ThreadPoolExecutor(1, "checkpoint")
        self._writing: Future | None = None

    @property
    def due(self) -> bool:
        """True where the last save is `--save_every_minutes` ago."""
        return time.perf_counter() - self._saved >= self._interval

    def save(self, files: dict[str, dict]) -> None:
        """Write contents by file name, in their order, once what is being written is done."""
        self.wait()
        self._saved = time.perf_counter()
        copies: dict[int, Tensor] = {}  # a tensor that two files hold is copied once

        def copy(tensor: Tensor) -> Tensor:
            if id(tensor) not in copies:
                copies[id(tensor)] = tensor.detach().to("cpu", copy=True)
            return copies[id(tensor)]

        with torch.no_grad():
            files = tree_map_only(Tensor, copy, files)
        self._writing = self._pool.submit(self._write, files)

    def wait(self) -> None:
        """Wait until everything is on the disk, or has failed."""
        if self._writing is not None:
            self._writing.result()
            self._writing = None

    def close(self) -> None:
        """Wait, and end the thread."""
        try:
            self.wait()
            self._write({})
        finally:
            self._pool.shutdown()

    def _write(self, files: dict[str, dict]) -> None:
        for name, content in (self._again | files).items():
            path = self.folder / name
            self._check_folder()
            try:
                checkpoint.save(
                    path, content, keep=self._keep - 1 if name == checkpoint.LAST else 0
                )
            except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
                self.failed[name] = _reason(error)
                self._again |= {name: content} if name == checkpoint.BEST else {}
                whole = f" and the earlier {name} is whole" if path.exists() else ""
                print(
                    f"checkpoint not saved: {path}: {self.failed[name]}\n"
                    f"the run goes on{whole}; free space or permissions",
                    file=sys.stderr,
                )
            else:
                self.written.add(name)
                self.failed.pop(name, None)
                self._again.pop(name, None)


def _reason(error: BaseException) -> str:
    """Return what the system said, which torch hides behind an error of its own."""
    first: BaseException | None = error
    while first is not None and not isinstance(first, OSError):
        first = first.__context__
    return str(getattr(first, "strerror", None) or error).splitlines()[0]


class NoSaver(Saver):
    """Stands in where another process of the run saves: does nothing, and is never due."""

    due = False

    def save(self, files: dict[str, dict]) -> None: ...
