"""Show runs: `python Reporter.py RUN [RUN …] --out DIR`. See `--help` and docs/training.md.

Writes figures as PNG and SVG, `runs.csv`, where runs differ in their seed alone `arms.md`, and
`report.html`, a page with a player that needs no network. RUN is a run folder or an output folder
of the Tester. With `--sweep`, trains runs over any flags of the Trainer first.
"""

if __name__ == "__main__":
    import core.startup  # noqa: F401, while what is below is imported

import argparse
import csv
import io
import sys
from collections.abc import Sequence
from pathlib import Path

from core.device import choose_device
from core.errors import UserError, exit_on_user_error, why
from core.files import atomic_write
from report.arm_figures import arm_figures
from report.arms import Arm, arms_of, arms_table
from report.leaderboard import as_text, runs_in, standings
from report.page import write_page
from report.rollout_figures import rollout_figures
from report.runs import Record, differing_settings, read_records
from report.style import to_svg, write_png
from report.sweep import LAB_SWEEP, Sweep, run_sweep
from report.sweep_flags import NOT_SWEPT, add_swept_flags, choices_of, grid, one_at_a_time
from report.training_figures import training_figures
from settings.flag_types import natural
from settings.flags import trainer_parser
from settings.parsing import FlagParser
from settings.resolve import parse_explicit


@exit_on_user_error
def main() -> None:
    ours, trainers = split_flags(sys.argv[1:])
    flags = parser().parse_args(ours)
    failed = {}
    if flags.sweep:
        sweep, devices = read_sweep(flags, trainers)
        paths, failed = run_sweep(sweep, Path(flags.out), devices)
    else:
        check_no_sweep(flags, trainers)
        paths = [path for run in flags.runs for path in runs_in(Path(run))]
    if paths:
        write_report(paths, Path(flags.out), flags.times, flags.sequences)
    if failed:
        runs = f"{len(failed)} of {len(failed) + len(paths)} runs failed"
        each = "; ".join(f"{name}: {how}" for name, how in failed.items())
        raise UserError(f"{runs}: {each}; the same command goes on with the sweep")


def split_flags(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return what stands before and what after ` -- `."""
    words = list(argv)
    cut = words.index("--") if "--" in words else len(words)
    return words[:cut], words[cut + 1 :]


def parser() -> argparse.ArgumentParser:
    """Return the parser of Reporter.py."""
    parser = FlagParser(
        usage="%(prog)s RUN [RUN ...] --out DIR [flags]\n"
        "       %(prog)s --sweep --DR ROOT --out DIR [--FLAG VALUE ...] [-- flags of the Trainer]",
        description="Show runs: figures, tables and a page to play their rollouts.",
    )
    add = parser.add_argument
    add("runs", nargs="*", metavar="RUN", help="a run, a folder of runs, or the Tester's output")
    add("--out", required=True, help="folder for all that is written")
    add("--times", type=natural, nargs="+", metavar="FRAME", help="frames to show in the strips")
    add("--sequences", nargs="+", metavar="NAME", help="show these sequences only (default: all)")
    group = parser.add_argument_group(
        "sweep",
        "Train runs, test them and report on them: every combination of the values of any flags\n"
        "of the Trainer, as in --optim AdamW Muon --tfr_sde 0 10 --augment on off --seed 1 2 3\n"
        "(Trainer.py --help has them all). Flags after -- are those of every run. The command\n"
        "goes on with a sweep that was stopped. Without values: the runs of the course's report\n"
        "(docs/lab.md).",
    )
    add = group.add_argument
    add("--sweep", "--study", action="store_true", help="train the runs first")
    add("--DR", metavar="ROOT", help="dataset folder of the sweep")
    add("--split", choices=["test", "val"], help="rolled out (default: test if it has true frames)")
    add("--devices", nargs="+", metavar="DEVICE", help="train side by side, a run on each, as in "
        "cuda:0 cuda:1 (default: one after another)")  # fmt: skip
    add("--one_at_a_time", action="store_true", help="no combinations: the first value of every "
        "flag, and what differs from that in one of them; each from every --seed")  # fmt: skip
    add_swept_flags(group)
    return parser


def check_no_sweep(flags: argparse.Namespace, trainers: Sequence[str]) -> None:
    """Raise UserError for a command that names no run, or that forgot `--sweep`."""
    given = [n for n in ("DR", "split", "devices") if getattr(flags, n) is not None]
    given += ["one_at_a_time"] * flags.one_at_a_time + [*choices_of(flags)]
    if given or trainers:
        named = f"--{given[0]}" if given else "flags after --"
        raise UserError(f"{named}: belongs to a sweep; add --sweep")
    if not flags.runs:
        raise UserError("RUN is missing: the folder of a run, or of the Tester's output")


def read_sweep(flags: argparse.Namespace, trainers: list[str]) -> tuple[Sweep, list[str | None]]:
    """Return the sweep that the flags ask for, and its devices. Raises UserError.

    Every run's flags are read as its Trainer will, so that none is refused half-way.
    """
    from Trainer import read_settings  # seconds, which a report without a sweep need not take

    if flags.runs:
        raise UserError(f"{flags.runs[0]}: --sweep makes its runs itself; flags go after --")
    if flags.DR is None:
        raise UserError("--DR is missing: the dataset folder of the sweep")
    choices = choices_of(flags)
    if flags.one_at_a_time:
        experiments = one_at_a_time(choices)
    else:
        experiments = grid(choices) if choices else LAB_SWEEP
    shared = parse_explicit(trainer_parser(), trainers)
    for name, reason in NOT_SWEPT.items():
        if name in shared and not (name == "device" and flags.devices is None):
            raise UserError(f"--{name}: not after the -- of a sweep: {reason}")
    for name in choices:
        if name in shared:
            raise UserError(f"--{name}: stands before the -- of a sweep, not after it")
    for device in flags.devices or ():
        choose_device(device)
    models = choices.get("model", [shared.get("model")])
    has_truth = "svg" in models or (Path(flags.DR) / "test" / "test_gt").is_dir()
    split = flags.split or ("test" if has_truth else "val")
    sweep = Sweep(experiments, trainers, flags.DR, split)
    for name in experiments:
        read_settings(sweep.trainer_flags(name, Path(flags.out)))
    return sweep, flags.devices or [shared.get("device")]


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
    arms = arms_of(records)
    if over_seeds := any(len(arm.seeds) > 1 for arm in arms):
        figures |= arm_figures(arms)
    shown = {name: to_svg(figure, name) for name, figure in figures.items()}
    for name, figure in figures.items():
        write_png(figure, out / f"{name}.png")
        with atomic_write(out / f"{name}.svg") as file:
            file.write(shown[name].encode())
    write_table(out / "runs.csv", records)
    if len(records) > 1:
        print(as_text(standings(records)))
    if over_seeds:
        write_arms(out / "arms.md", arms)
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


def write_arms(path: Path, arms: Sequence[Arm]) -> None:
    """Write and print what the runs of several seeds reached, and how their settings compare."""
    table = arms_table(arms)
    print(table)
    with atomic_write(path) as file:
        file.write(table.encode())


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
