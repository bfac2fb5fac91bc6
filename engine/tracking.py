"""Where a run's figures go: a CSV in the run folder, the terminal, and wandb where asked for."""

import csv
import io
import os
import sys
from pathlib import Path

from engine.errors import UserError
from engine.files import going_on, replacing

METRICS_FILE = "metrics.csv"


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
        with going_on(self.path.name), replacing(self.path) as file:
            file.write(text.getvalue().encode())


def read_log(path: Path) -> list[dict[str, str]]:
    """Return the rows of a run's log. Raises UserError where a row is not one of an epoch."""
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        rows = list(csv.DictReader(file))
    for number, row in enumerate(rows, start=2):
        if None in row or not (row.get("epoch") or "").isdecimal():
            raise UserError(
                f"{path}: line {number} is not a row of a run's log; move the file away, or train "
                "with --resume never, which sets it aside"
            )
    return rows


class NoWandb:
    """Stands in for a wandb run: takes what it is given and does nothing."""

    def log(self, data: dict, step: int | None = None) -> None: ...

    def finish(self) -> None: ...


class Tracker:
    """The CSV and wandb behind one interface, which the loop calls once an epoch."""

    def __init__(self, folder: Path, settings: dict, first_epoch: int):
        self._csv = CsvLog(folder / METRICS_FILE, first_epoch)
        self._wandb = open_wandb(folder, settings) if settings["wandb"] else NoWandb()

    def log(self, row: dict, gifs: dict[str, Path]) -> None:
        """Record the figures of an epoch and the GIFs of its validation."""
        self._csv.add(row)
        self._wandb.log(row | self._media(gifs), step=row["epoch"])

    def _media(self, gifs: dict[str, Path]) -> dict:
        if isinstance(self._wandb, NoWandb):
            return {}
        import wandb

        return {name: wandb.Video(str(path), format="gif") for name, path in gifs.items()}

    def close(self) -> None:
        """Finish the wandb run. Further calls do nothing."""
        self._wandb.finish()
        self._wandb = NoWandb()


def open_wandb(folder: Path, settings: dict):
    """Start a wandb run, offline where there is no login or network; NoWandb without wandb."""
    try:
        import wandb
    except ImportError:
        print("wandb is not installed (pip install wandb); going on without", file=sys.stderr)
        return NoWandb()
    arguments = {
        "project": "conditional-video-vae",
        "dir": str(folder),
        "config": settings,
        "id": settings["wandb_id"],
        "resume": "allow" if settings["wandb_id"] else None,
    }
    logged_in = bool(wandb.api.api_key)
    mode = os.environ.get("WANDB_MODE") or ("online" if logged_in else "offline")
    if mode == "offline":
        why = "WANDB_MODE is offline" if logged_in else "no login (wandb login)"
        print(f"wandb runs offline: {why}; `wandb sync` sends it later", file=sys.stderr)
    try:
        return wandb.init(mode=mode, **arguments)
    except wandb.errors.CommError as error:
        print(f"wandb runs offline: no connection ({error})", file=sys.stderr)
        return wandb.init(mode="offline", **arguments)
