"""TensorBoard; the only file that imports it, and only with `--tensorboard`."""

import json
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.files import warn_on_write_error

FOLDER = "tensorboard"  # in the run folder


def open_tensorboard(folder: Path, settings: dict, first_epoch: int) -> "TensorboardLog | None":
    """Begin event files in the run folder; None where TensorBoard is not installed.

    A continued run hides what an earlier one logged from its first epoch on.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        print("--tensorboard: pip install tensorboard; continuing without", file=sys.stderr)
        return None
    log = TensorboardLog(
        lambda epoch: SummaryWriter(str(folder / FOLDER), purge_step=epoch or None)
    )
    log.open(first_epoch)
    if first_epoch == 0:
        text = f"```json\n{json.dumps(settings, indent=2)}\n```"
        log.write(lambda writer: writer.add_text("settings", text))
    return log


class TensorboardLog:
    """Event files: figures by epoch, in groups.

    Where they cannot be written the run says so and goes on; with the next epoch a new file is
    tried, since the writer of the library is of no use after an error.
    """

    def __init__(self, begin: Callable[[int], Any]):
        self._begin, self._writer = begin, None
        threading.excepthook = _unless_said(threading.excepthook)

    def open(self, epoch: int) -> None:
        """Begin a file, for the epochs from this one on."""
        with warn_on_write_error(FOLDER):
            self._writer = self._begin(epoch)

    def log(self, epoch: int, figures: dict[str, float], gifs: dict, scores: dict) -> None:
        """Record an epoch; names come with their group, such as `train/loss`."""
        if self._writer is None:
            self.open(epoch)

        def add(writer) -> None:
            for name, value in figures.items():
                writer.add_scalar(name, value, epoch)

        self.write(add)

    def write(self, add: Callable[[Any], None]) -> None:
        """Add something to the file, which is flushed."""
        writer, self._writer = self._writer, None
        if writer is not None:
            with warn_on_write_error(FOLDER):
                add(writer)
                writer.flush()
                self._writer = writer

    def close(self) -> None:
        """Close the files."""
        if self._writer is not None:
            with warn_on_write_error(FOLDER):
                self._writer.close()


def _unless_said(before: Callable) -> Callable:
    """Leave out errors of TensorBoard's own thread, which come out of its `flush` as well."""

    def hook(arguments: Any) -> None:
        of_tensorboard = type(arguments.thread).__module__.startswith("tensorboard.")
        if not (of_tensorboard and issubclass(arguments.exc_type, OSError)):
            before(arguments)

    return hook
