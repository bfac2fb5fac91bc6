"""Where a run's figures go: a CSV in the run folder, the terminal, and wandb where asked for."""

import csv
import os
import sys
from pathlib import Path

METRICS_FILE = "metrics.csv"


class CsvLog:
    """One row per epoch. A continued run drops the rows from its first epoch on and goes on."""

    def __init__(self, path: Path, first_epoch: int):
        self.path = path
        self._fields: list[str] | None = None
        if path.exists():
            fields, rows = self._read()
            self._write(fields, [row for row in rows if int(row["epoch"]) < first_epoch], "w")

    def add(self, row: dict) -> None:
        """Append a row. The columns are those of the file, else of the first row."""
        if self._fields is None or not set(row) <= set(self._fields):
            self._extend(list(row))
        self._write(self._fields, [row], "a")

    def _extend(self, fields: list[str]) -> None:
        """Rewrite the file with columns it lacks."""
        old, rows = self._read() if self.path.exists() else ([], [])
        self._write(list(dict.fromkeys([*old, *fields])), rows, "w")

    def _read(self) -> tuple[list[str], list[dict]]:
        """Return the columns and the rows of the file."""
        with self.path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            return list(reader.fieldnames or []), list(reader)

    def _write(self, fields: list[str], rows: list[dict], mode: str) -> None:
        self._fields = fields
        with self.path.open(mode, newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fields)
            if mode == "w":
                writer.writeheader()
            writer.writerows(rows)


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
