"""Show runs: `python Reporter.py RUN [RUN …] --out DIR`. See `--help` and docs/training.md.

Writes figures as PNG and SVG, `runs.csv` and `report.html`, a page with a player that needs no
network. RUN is a run folder or an output folder of the Tester. With `--sweep`, trains a grid of
runs first.
"""

if __name__ == "__main__":
    import core.startup  # noqa: F401, while what is below is imported

import argparse
import csv
import io
import sys
from collections.abc import Sequence
from pathlib import Path

from core.errors import UserError, exit_on_user_error, why
from core.files import atomic_write
from report.leaderboard import as_text, runs_in, standings
from report.page import write_page
from report.rollout_figures import rollout_figures
from report.runs import Record, differing_settings, read_records
from report.style import to_svg, write_png
from report.sweep import LAB_SWEEP, Sweep, grid, run_sweep
from report.training_figures import training_figures
from settings.flag_types import count, kl_anneal_ratio, kl_anneal_type, natural, probability

GRID = {
    "kl_anneal_type": kl_anneal_type,
    "kl_anneal_cycle": count,
    "kl_anneal_ratio": kl_anneal_ratio,
    "tfr": probability,
}


@exit_on_user_error
def main() -> None:
    ours, trainers = split_flags(sys.argv[1:])
    flags = parser().parse_args(ours)
    if flags.sweep:
        paths = run_sweep(read_sweep(flags, trainers), Path(flags.out))
    else:
        check_no_sweep(flags, trainers)
        paths = [path for run in flags.runs for path in runs_in(Path(run))]
    write_report(paths, Path(flags.out), flags.times, flags.sequences)


def split_flags(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return what stands before and what after ` -- `."""
    words = list(argv)
    cut = words.index("--") if "--" in words else len(words)
    return words[:cut], words[cut + 1 :]


def parser() -> argparse.ArgumentParser:
    """Return the parser of Reporter.py."""
    parser = argparse.ArgumentParser(
        usage="%(prog)s RUN [RUN ...] --out DIR [flags]\n"
        "       %(prog)s --sweep --DR ROOT --out DIR [flags] [-- flags of the Trainer]",
        description="Show runs: figures, tables and a page to play their rollouts.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("runs", nargs="*", metavar="RUN", help="a run, a folder of runs, or the Tester's output")
    add("--out", required=True, help="folder for all that is written")
    add("--times", type=natural, nargs="+", metavar="FRAME", help="frames to show in the strips")
    add("--sequences", nargs="+", metavar="NAME", help="show these sequences only (default: all)")
    add = parser.add_argument_group(
        "sweep",
        "Train runs one after another, test them and report on them. A begun sweep is gone on "
        "with. Without a grid: the report's four runs (docs/lab.md).",
    ).add_argument
    add("--sweep", "--study", action="store_true", help="train the runs first")
    add("--DR", metavar="ROOT", help="dataset folder of the sweep")
    add("--split", choices=["test", "val"], help="rolled out (default: test if it has true frames)")
    for name, kind in GRID.items():
        add(f"--{name}", type=kind, nargs="+", metavar="VALUE", help="values of the grid")
    return parser


def check_no_sweep(flags: argparse.Namespace, trainers: Sequence[str]) -> None:
    """Raise UserError for a command that names no run, or that forgot `--sweep`."""
    given = [n for n in ("DR", "split", *GRID) if getattr(flags, n) is not None]
    if given or trainers:
        named = f"--{given[0]}" if given else "flags after --"
        raise UserError(f"{named}: belongs to a sweep; add --sweep")
    if not flags.runs:
        raise UserError("RUN is missing: the folder of a run, or of the Tester's output")


def read_sweep(flags: argparse.Namespace, trainers: list[str]) -> Sweep:
    """Return the sweep that the flags ask for. Raises UserError."""
    if flags.runs:
        raise UserError(f"{flags.runs[0]}: --sweep makes its runs itself; flags go after --")
    if flags.DR is None:
        raise UserError("--DR is missing: the dataset folder of the sweep")
    choices = {
        name: [f"{v:g}" if isinstance(v, float) else str(v) for v in getattr(flags, name)]
        for name in GRID
        if getattr(flags, name) is not None
    }
    for name in ("save_root", "ckpt_path", "DR", *choices):
        if f"--{name}" in trainers:
            raise UserError(f"--{name}: stands before the -- of a sweep, not after it")
    split = flags.split or ("test" if (Path(flags.DR) / "test" / "test_gt").is_dir() else "val")
    return Sweep(grid(choices) if choices else LAB_SWEEP, trainers, flags.DR, split)


def write_report(
    paths: Sequence[Path],
    out: Path,
    times: Sequence[int] | None = None,
    sequences: Sequence[str] | None = None,
) -> None:
    """Write figures, table and page of some runs into `out`. Raises UserError.

    times: the frames to show in strips; sequences: those to show, by name. By default eight
    frames of all sequences.
    """
    records = read_records(paths)
    if sequences is not None:
        keep_sequences(records, sequences)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {out}: {why(error)}") from None
    rollouts = {record.label: record.rollouts for record in records if record.rollouts}
    figures = rollout_figures(rollouts, times) | training_figures(records)
    shown = {name: to_svg(figure, name) for name, figure in figures.items()}
    for name, figure in figures.items():
        write_png(figure, out / f"{name}.png")
        with atomic_write(out / f"{name}.svg") as file:
            file.write(shown[name].encode())
    write_table(out / "runs.csv", records)
    if len(records) > 1:
        print(as_text(standings(records)))
    title = records[0].label if len(records) == 1 else f"{len(records)} runs compared"
    write_page(out / "report.html", title, records, shown)
    size = (out / "report.html").stat().st_size / 1e6
    print(f"{out}: report.html ({size:.1f} MB), runs.csv, {len(figures)} figures as PNG and SVG")


def keep_sequences(records: Sequence[Record], names: Sequence[str]) -> None:
    """Drop the other sequences from the records. Raises UserError for one that is in none."""
    found = {rollout.name for record in records for rollout in record.rollouts}
    for name in names:
        if name not in found:
            raise UserError(
                f"--sequences {name}: no such sequence was rolled out; there are "
                f"{', '.join(sorted(found)) or 'none'}"
            )
    for record in records:
        record.rollouts = [rollout for rollout in record.rollouts if rollout.name in names]


def write_table(path: Path, records: Sequence[Record]) -> None:
    """Write the runs with the settings in which they differ, a row per run."""
    differing = differing_settings(records)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["run", *differing])
    for index, record in enumerate(records):
        writer.writerow([record.label, *(values[index] for values in differing.values())])
    with atomic_write(path) as file:
        file.write(text.getvalue().encode())


if __name__ == "__main__":
    main()
