"""Show runs: `python Reporter.py RUN [RUN …] --out DIR`. See `--help` and the README.

Writes figures as PNG and SVG, `runs.csv` and `report.html`, a page with a player that needs no
network. RUN is a run folder or an output folder of the Tester. With `--study`, trains a grid of
runs first.
"""

import argparse
import csv
import io
from collections.abc import Sequence
from pathlib import Path

from engine.errors import UserError, exit_on_user_error
from engine.files import replacing
from engine.flags import natural
from report.figures import rollout_figures, to_svg, training_figures, write_png
from report.page import write_page
from report.runs import Record, differing_settings, read_records


@exit_on_user_error
def main() -> None:
    flags = parser().parse_args()
    if not flags.runs:
        raise UserError("RUN is missing: the folder of a run, or of the Tester's output")
    write_report([Path(run) for run in flags.runs], Path(flags.out), flags.times)


def parser() -> argparse.ArgumentParser:
    """Return the parser of Reporter.py."""
    parser = argparse.ArgumentParser(
        description="Show runs: figures, tables and a page to play their roll-outs.",
        allow_abbrev=False,
    )
    parser.add_argument("runs", nargs="*", metavar="RUN", help="run folder, or the Tester's output")
    parser.add_argument("--out", default="report_out", help="folder for all that is written")
    parser.add_argument(
        "--times", type=natural, nargs="+", metavar="FRAME", help="frames to show in the strips"
    )
    return parser


def write_report(paths: Sequence[Path], out: Path, times: Sequence[int] | None = None) -> None:
    """Write figures, table and page of some runs into `out`. Raises UserError."""
    records = read_records(paths)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {out}: {error.strerror}") from None
    rollouts = {record.label: record.rollouts for record in records if record.rollouts}
    figures = rollout_figures(rollouts, times) | training_figures(records)
    drawn = {name: to_svg(figure, name) for name, figure in figures.items()}
    for name, figure in figures.items():
        write_png(figure, out / f"{name}.png")
        with replacing(out / f"{name}.svg") as file:
            file.write(drawn[name].encode())
    write_table(out / "runs.csv", records)
    title = records[0].label if len(records) == 1 else f"{len(records)} runs compared"
    write_page(out / "report.html", title, records, drawn)
    size = (out / "report.html").stat().st_size / 1e6
    print(f"{out}: report.html ({size:.1f} MB), runs.csv, {len(figures)} figures as PNG and SVG")


def write_table(path: Path, records: Sequence[Record]) -> None:
    """Write the runs with the settings in which they differ, a row per run."""
    differing = differing_settings(records)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["run", *differing])
    for index, record in enumerate(records):
        writer.writerow([record.label, *(values[index] for values in differing.values())])
    with replacing(path) as file:
        file.write(text.getvalue().encode())


if __name__ == "__main__":
    main()
