"""Reading what runs leave in their folders: the log, the settings, the rollouts.

A path given to the Reporter is a run folder (`metrics.csv`, `settings.json`), or an output folder
of the Tester (`rollout_seq*.npz`), or a run folder with such output in it or in a sub-folder.
"""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from core.errors import UserError
from core.files import parse_json, printable
from engine.checkpoints.results_folder import read_source
from engine.checkpoints.run_folder import SETTINGS_FILE
from engine.output.tracker import METRICS_FILE, read_log
from report.rollouts import PATTERN, Rollout, read_rollouts
from settings.flags import tester_parser
from settings.resolve import present_names

# Settings that make no difference in what a run computes.
HIDDEN = {*tester_parser().names(lambda scope: not scope.inherited)} - {"warm_start"}


@dataclass
class Record:
    """A run as it is found on disk: trained, tested or both."""

    label: str
    log: dict[str, np.ndarray] = field(default_factory=dict)  # by column, NaN where empty
    settings: dict = field(default_factory=dict)
    rollouts: list[Rollout] = field(default_factory=list)

    def column(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the epochs at which a column was logged, and its values."""
        if name not in self.log:
            return np.empty(0), np.empty(0)
        logged = ~np.isnan(self.log[name])
        return self.log["epoch"][logged], self.log[name][logged]

    @property
    def validation_sets(self) -> list[str]:
        """The names of the sets a run was validated on, the one that judged first."""
        return [name.removesuffix("_ssim") for name in self.log if name.endswith("_ssim")]

    @property
    def judge(self) -> str | None:
        """The set that chooses the best checkpoint; None where none was logged."""
        return next(iter(self.validation_sets), None)


def read_records(paths: Sequence[Path]) -> list[Record]:
    """Return a record per run. Raises UserError.

    Output of the Tester that was given by itself joins the run it says it comes from, where just
    one run of that name was given; sequences that a run has already make a record of their own.
    """
    paths = list({path.resolve(): None for path in map(_existing, paths)})
    tested = {path: _result_folders(path) for path in paths}
    records: dict[Path, Record] = {}
    for path, label in zip(paths, labels(paths)):
        if (path / METRICS_FILE).exists():
            records[path] = Record(label, read_columns(path / METRICS_FILE), _read_settings(path))
        elif not tested[path]:
            raise UserError(
                f"{path}: neither {METRICS_FILE} of a run nor {PATTERN} of the Tester is in it; "
                "give the --save_root of one of them"
            )
    found = list(records.values())
    for path, label in zip(paths, labels(paths)):
        for folder in tested[path]:
            if read_source(folder).get("finished") is False:
                print(
                    f"{folder}: its test was interrupted, and sequences may be missing; test again",
                    file=sys.stderr,
                )
            rollouts = read_rollouts(folder)
            of_run = rollouts[0].about.get("run")
            homes = [r for p, r in records.items() if p == path] or [
                r for p, r in records.items() if printable(p.name) == of_run
            ]
            taken = {r.name for r in homes[0].rollouts} if len(homes) == 1 else set()
            if len(homes) == 1 and taken.isdisjoint(r.name for r in rollouts):
                homes[0].rollouts += rollouts
            else:
                own = label if folder == path else f"{label}/{printable(folder.name)}"
                found.append(Record(own, settings=dict(rollouts[0].about), rollouts=rollouts))
    return found


def labels(paths: Sequence[Path]) -> list[str]:
    """Return the shortest endings of the paths that tell them apart."""
    for parts in range(1, max(len(path.parts) for path in paths) + 1):
        names = [printable("/".join(path.parts[-parts:])) for path in paths]
        if len(set(names)) == len(names):
            return names
    return [ascii(str(path)) for path in paths]


def differing_settings(records: Sequence[Record]) -> dict[str, list[str]]:
    """Return the settings in which the records differ: a text per record, empty where unknown."""
    names = dict.fromkeys(name for record in records for name in record.settings)
    table = {
        name: [_text(record.settings.get(name)) for record in records]
        for name in names
        if name not in HIDDEN
    }
    return {name: row for name, row in table.items() if len(set(row)) > 1}


def _text(value: object) -> str:
    if value is None:
        return ""
    return f"{value:g}" if isinstance(value, float) else printable(str(value))


def _existing(path: Path) -> Path:
    if not path.is_dir():
        raise UserError(f"{path}: no such run folder")
    return path


def _result_folders(path: Path) -> list[Path]:
    """Return the folders with rollouts: the path itself and its own sub-folders."""
    inside = (p for p in path.iterdir() if p.is_dir() and not p.name.startswith("previous-"))
    return [folder for folder in (path, *sorted(inside)) if any(folder.glob(PATTERN))]


def _read_settings(folder: Path) -> dict:
    path = folder / SETTINGS_FILE
    if not path.exists():
        return {}
    try:
        settings = parse_json(path.read_text(encoding="utf-8"))
        if not isinstance(settings, dict):
            raise ValueError("not an object")
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not the settings of a run ({error})") from None
    return present_names(tester_parser(), settings)


def read_columns(path: Path) -> dict[str, np.ndarray]:
    """Return the columns of a run's log as float64, NaN where a row leaves them empty.

    Raises UserError where it is not one, holds no rows, or a cell that is no number.
    """
    rows = read_log(path, way_out="was it being written? Try again, or delete the line")
    if not rows:
        raise UserError(f"{path}: no epoch is logged in it yet")
    return {name: np.array([_number(row, name, path) for row in rows]) for name in rows[0]}


def _number(row: dict[str, str], name: str, path: Path) -> float:
    try:
        return float(row[name]) if row[name] else math.nan
    except ValueError:
        raise UserError(
            f"{path}, epoch {row['epoch']}: {row[name][:40]!r} in column {name} is not a number"
        ) from None
