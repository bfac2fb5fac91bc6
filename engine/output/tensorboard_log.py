"""TensorBoard; the only file that imports it, and only with `--tensorboard`."""

import json
import sys
from pathlib import Path

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
    writer = SummaryWriter(str(folder / FOLDER), purge_step=first_epoch or None)
    if first_epoch == 0:
        writer.add_text("settings", f"```json\n{json.dumps(settings, indent=2)}\n```")
    return TensorboardLog(writer)


class TensorboardLog:
    """Open event files: figures by epoch, in groups."""

    def __init__(self, writer):
        self._writer = writer

    def log(self, epoch: int, figures: dict[str, float], gifs: dict, scores: dict) -> None:
        """Record an epoch; names come with their group, such as `train/loss`."""
        for name, value in figures.items():
            self._writer.add_scalar(name, value, epoch)
        self._writer.flush()

    def close(self) -> None:
        """Close the files."""
        self._writer.close()
