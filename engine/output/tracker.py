"""Where a run's figures go: a CSV in the run folder, and wandb and TensorBoard where asked for."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from core import distributed
from core.errors import UserError
from core.files import atomic_write, open_regular, warn_on_write_error
from engine.evaluation.scoring import Scores
from engine.output.tensorboard_log import open_tensorboard
from engine.output.wandb_log import WandbLog, check_wandb, known_run, open_wandb

METRICS_FILE = "metrics.csv"
WAY_OUT = "move the file away, or train with --resume never, which sets it aside"


class CsvLog:
    """One row per epoch. A continued run drops the rows from its first epoch on.

    The file is written anew with every row, whole or not at all; where that fails, the row is in
    the next writing, at the latest in that of `close`.
    """

    def __init__(self, path: Path, first_epoch: int):
        self.path = path
        self._is_written = True
        rows = read_log(path) if path.exists() else []
        self._rows = [row for row in rows if int(row["epoch"]) < first_epoch]
        if len(self._rows) < len(rows):
            self._write()

    def add(self, row: dict) -> None:
        """Append a row; columns that earlier rows lack are empty there."""
        self._rows.append(row)
        self._write()

    def close(self) -> None:
        """Write once more what could not be written."""
        if not self._is_written:
            self._write()

    def _write(self) -> None:
        self._is_written = False
        columns = list(dict.fromkeys(name for row in self._rows for name in row))
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, columns)
        if columns:  # a header of none is an empty line, and no log
            writer.writeheader()
        writer.writerows(self._rows)
        with warn_on_write_error(self.path.name):
            with atomic_write(self.path) as file:
                file.write(text.getvalue().encode())
            self._is_written = True


def read_log(path: Path, way_out: str = WAY_OUT) -> list[dict[str, str]]:
    """Return the rows of a run's log, none of an empty file.

    Raises UserError, which ends in `way_out`, where columns, a row or its epoch are not those of a
    log.
    """
    try:
        with io.TextIOWrapper(open_regular(path), "utf-8", "replace", newline="") as file:
            reader = csv.reader(file)
            names = next(reader, []) or ["epoch"]
            lines = [(reader.line_num, cells) for cells in reader if cells]
    except (OSError, csv.Error) as error:
        raise UserError(f"{path}: {getattr(error, 'strerror', None) or error}; {way_out}") from None
    if "epoch" not in names or len(set(names)) < len(names):
        columns = ", ".join(names)[:80]
        raise UserError(f"{path}: not the log of a run (columns {columns!r}); {way_out}")
    rows, epoch = [], -1
    for line, cells in lines:
        if len(cells) != len(names):
            raise UserError(
                f"{path}, line {line}: {len(cells)} cells, the header has {len(names)}; {way_out}"
            )
        row = dict(zip(names, cells))
        whole = re.fullmatch(r"[0-9]{1,9}", row["epoch"])
        if not whole or int(row["epoch"]) <= epoch:
            raise UserError(
                f"{path}, line {line}: its epochs are no numbers, or do not rise; {way_out}"
            )
        epoch = int(row["epoch"])
        rows.append(row)
    return rows


def continued_logs(settings: dict, folder: Path, continued_from: Path | None) -> dict:
    """Return the settings with wandb on where the run that goes on in its folder had it.

    Says so; WANDB_MODE=disabled turns it off.
    """
    goes_on = continued_from is not None and continued_from.resolve().parent == folder.resolve()
    if settings["wandb"] or not goes_on or known_run(folder) is None:
        return settings
    print(f"{folder}: goes on logging to wandb (WANDB_MODE=disabled turns it off)")
    return settings | {"wandb": True}


def check_logs(settings: dict) -> None:
    """Raise UserError where what is asked for cannot be logged to. Writes nothing."""
    if settings["wandb"]:
        check_wandb(settings)


class Tracker:
    """The CSV, wandb and TensorBoard behind one interface, which the loop calls once an epoch.

    Of several processes the first alone logs; in the others this does nothing. artifacts: names
    of files in the folder that go to wandb at the end, with `--wandb_artifacts`.
    """

    def __init__(
        self, folder: Path, settings: dict, first_epoch: int, artifacts: Sequence[str] = ()
    ):
        self._csv, self._logs = None, []
        if not distributed.is_main():
            return
        self._csv = CsvLog(folder / METRICS_FILE, first_epoch)
        opened = [
            open_wandb(folder, settings, artifacts) if settings["wandb"] else None,
            open_tensorboard(folder, settings, first_epoch) if settings["tensorboard"] else None,
        ]
        self._logs = [log for log in opened if log is not None]

    def log_step(self, step: int, seconds: float, figures: Mapping[str, Any]) -> None:
        """Record a step within an epoch, where a log takes it: few do, and few steps."""
        for log in self._logs:
            if isinstance(log, WandbLog):
                log.log_step(step, seconds, figures)

    def log(
        self,
        epoch: int,
        groups: dict[str, dict[str, float]],
        gifs: dict[str, Path],
        scores: dict[str, list[Scores]],
    ) -> None:
        """Record the figures of an epoch, and of its validation the GIFs and scores by set.

        groups: figures by name, by where they belong: `train` whatever the model measured,
        `schedule`, `system`, `val`. Names are columns of the CSV, and elsewhere `train/loss`.
        """
        if self._csv is None:
            return
        self._csv.add(log_row(epoch, groups))
        figures = {
            f"{group}/{name}": value
            for group, members in groups.items()
            for name, value in members.items()
        }
        for log in self._logs:
            log.log(epoch, figures, gifs, scores)

    def close(self) -> None:
        """Finish what is open. Further calls do nothing."""
        if self._csv is not None:
            self._csv.close()
        while self._logs:
            self._logs.pop().close()


def log_row(epoch: int, groups: dict[str, dict[str, float]]) -> dict[str, float]:
    """Return the figures of all groups as a row of the CSV."""
    row: dict[str, float] = {"epoch": epoch}
    for group, members in groups.items():
        if twice := row.keys() & members.keys():
            raise ValueError(f"{group}/{twice.pop()}: another group has a figure of this name")
        row |= members
    return row
