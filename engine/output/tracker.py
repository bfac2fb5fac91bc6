"""Where a run's figures go: a CSV in the run folder, and wandb and TensorBoard where asked for."""

import csv
import io
import re
from pathlib import Path

from core import distributed
from core.errors import UserError
from core.files import atomic_write, open_regular, warn_on_write_error
from engine.evaluation.scoring import Scores
from engine.output.tensorboard_log import open_tensorboard
from engine.output.wandb_log import open_wandb

METRICS_FILE = "metrics.csv"
COLUMNS = {  # of the log, by the group they have elsewhere; all others are of a validation
    "train": ("loss", "mse", "kl", "elbo", "grad_norm", "skipped", "step"),
    "schedule": ("beta", "tfr", "lr", "teacher_forced"),
    "system": ("seconds", "frames_per_second"),
}


class CsvLog:
    """One row per epoch. A continued run drops the rows from its first epoch on and goes on.

    The file is written anew with every row, whole or not at all; where that fails, the row is in
    the next writing.
    """

    def __init__(self, path: Path, first_epoch: int):
        self.path = path
        rows = read_log(path) if path.exists() else []
        self._rows = [row for row in rows if int(row["epoch"]) < first_epoch]
        if len(self._rows) < len(rows):
            self._write()

    def add(self, row: dict) -> None:
        """Append a row; columns that earlier rows lack are empty there."""
        self._rows.append(row)
        self._write()

    def _write(self) -> None:
        columns = list(dict.fromkeys(name for row in self._rows for name in row))
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, columns)
        writer.writeheader()
        writer.writerows(self._rows)
        with warn_on_write_error(self.path.name), atomic_write(self.path) as file:
            file.write(text.getvalue().encode())


def read_log(path: Path) -> list[dict[str, str]]:
    """Return the rows of a run's log. Raises UserError where a row is not one of an epoch."""
    way_out = "move the file away, or train with --resume never, which sets it aside"
    try:
        with io.TextIOWrapper(open_regular(path), "utf-8", "replace", newline="") as file:
            reader = csv.DictReader(file)
            columns = reader.fieldnames or ["epoch"]
            rows = list(reader)
        if "epoch" not in columns:
            raise csv.Error("no column epoch")
    except (OSError, csv.Error) as error:
        raise UserError(f"{path}: {getattr(error, 'strerror', None) or error}; {way_out}") from None
    for number, row in enumerate(rows, start=2):
        whole = None not in row and None not in row.values()
        if not whole or not re.fullmatch(r"\d{1,9}", row.get("epoch", "")):
            raise UserError(f"{path}: line {number} is not a row of a run's log; {way_out}")
    return rows


class Tracker:
    """The CSV, wandb and TensorBoard behind one interface, which the loop calls once an epoch.

    Of several processes the first alone logs; in the others this does nothing.
    """

    def __init__(self, folder: Path, settings: dict, first_epoch: int):
        self._csv, self._logs = None, []
        if not distributed.is_main():
            return
        self._csv = CsvLog(folder / METRICS_FILE, first_epoch)
        opened = [
            open_wandb(folder, settings) if settings["wandb"] else None,
            open_tensorboard(folder, settings, first_epoch) if settings["tensorboard"] else None,
        ]
        self._logs = [log for log in opened if log is not None]

    def log(self, row: dict, gifs: dict[str, Path], scores: dict[str, list[Scores]]) -> None:
        """Record the figures of an epoch, and of its validation the GIFs and scores by set."""
        if self._csv is None:
            return
        self._csv.add(row)
        figures = grouped({name: value for name, value in row.items() if name != "epoch"})
        for log in self._logs:
            log.log(row["epoch"], figures, gifs, scores)

    def close(self) -> None:
        """Finish what is open. Further calls do nothing."""
        while self._logs:
            self._logs.pop().close()


def grouped(row: dict[str, float]) -> dict[str, float]:
    """Name the columns of the log by their group: train/, schedule/, system/, else val/."""
    groups = {name: group for group, names in COLUMNS.items() for name in names}
    return {f"{groups.get(name, 'val')}/{name}": value for name, value in row.items()}
