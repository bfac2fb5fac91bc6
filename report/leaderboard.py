"""Several runs as one table, the best score first: in the terminal and on the page."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.errors import UserError
from engine.output.tracker import METRICS_FILE
from report.rollouts import PATTERN
from report.runs import Record, read_columns

HEADS = ("run", "judged by", "PSNR, dB", "SSIM", "epoch", "epochs", "test PSNR, dB")
WORDS = 2  # columns of words; the others hold numbers


@dataclass(frozen=True)
class Standing:
    """What a run has reached. None where it was not validated, or not tested with the truth."""

    label: str
    judge: str = ""  # the set that chose its best.ckpt, and how many frames it holds out
    psnr: float | None = None  # dB, of its best epoch
    ssim: float | None = None
    epoch: int | None = None  # the best one, from 0
    epochs: int = 0  # trained
    tested: float | None = None  # dB, mean over the sequences rolled out

    @property
    def cells(self) -> list[str]:
        """Return the row as text, in the order of `HEADS`."""
        numbers = ((self.psnr, ".2f"), (self.ssim, ".4f"), (self.epoch, "d"))
        return [
            self.label,
            self.judge or "–",
            *("–" if value is None else f"{value:{digits}}" for value, digits in numbers),
            str(self.epochs or "–"),
            "–" if self.tested is None else f"{self.tested:.2f}",
        ]


def standings(records: Sequence[Record]) -> list[Standing]:
    """Return what the runs have reached, the best first.

    Scores of different sets say nothing of each other: runs judged by the same one stand together,
    the set that judged the most runs first. Runs that are only tested are sorted by that; those
    without a score come last.
    """
    found = [_standing(record) for record in records]
    judges = [standing.judge for standing in found]
    return sorted(
        found,
        key=lambda one: (
            one.psnr is None,
            -judges.count(one.judge),
            one.judge,
            -(one.psnr or 0),
            -(one.tested or 0),
        ),
    )


def _standing(record: Record) -> Standing:
    rolled_out = [
        float(np.nanmean(rollout.scores["psnr"][name]))
        for rollout in record.rollouts
        for name in rollout.predicted[:1]  # of a robot's clips the one that is shown first
        if not np.isnan(rollout.scores["psnr"][name]).all()
    ]
    tested = float(np.mean(rolled_out)) if rolled_out else None
    epochs = len(record.log["epoch"]) if record.log else 0
    judge = record.judge
    if judge is None:
        return Standing(record.label, epochs=epochs, tested=tested)
    at, psnr = record.column(f"{judge}_psnr")
    holdout = record.settings.get("holdout")
    told = f"holdout {holdout[0]}:{holdout[1]}" if judge == "holdout" and holdout else judge
    if not len(psnr):
        return Standing(record.label, told, epochs=epochs, tested=tested)
    best = int(psnr.argmax())
    ssim = dict(zip(*record.column(f"{judge}_ssim"))).get(at[best])
    return Standing(
        record.label, told, float(psnr[best]), ssim, int(at[best]), epochs=epochs, tested=tested
    )


def as_text(found: Sequence[Standing]) -> str:
    """Return the table for a terminal."""
    rows = [list(HEADS), *(standing.cells for standing in found)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADS))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column < WORDS else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in rows
    )


def runs_in(path: Path) -> list[Path]:
    """Return the runs in a folder of runs, in the order of their names; else the path itself.

    A run that has logged nothing yet is left out, and named.
    """
    if not path.is_dir() or (path / METRICS_FILE).exists() or any(path.glob(PATTERN)):
        return [path]
    found = sorted(
        folder
        for folder in path.iterdir()
        if (folder / METRICS_FILE).exists() and not folder.name.startswith("previous-")
    )
    runs = []
    for folder in found:
        try:
            read_columns(folder / METRICS_FILE)
            runs.append(folder)
        except UserError as error:
            print(f"{error}; left out", file=sys.stderr)
    return runs or [path]
