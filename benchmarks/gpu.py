"""All there is to say of a GPU: `python -m benchmarks.gpu`.

Is what it computes right, how fast is it, how long does a test take; with --long, what do trainings
to the end score. All of it goes into one Markdown file, which names the hardware, and profiles
beside it. Without --long it takes less than nine minutes on a GPU. `--device cpu` runs it with the
CPU in the GPU's place, at small widths: that says that it runs, and nothing of a GPU.
"""

import argparse
import os
import platform
import tempfile
import time
from pathlib import Path

import pandas as pd
import torch

from benchmarks.gpu_cases import CASES, small
from benchmarks.gpu_checks import all_checks
from benchmarks.gpu_speed import (
    TRAININGS,
    launches_table,
    rollout_table,
    save_profile,
    steps_table,
    tester_seconds,
    trained,
)
from benchmarks.speed import cpu_name
from core.device import choose_device
from core.errors import UserError, exit_on_user_error
from report.arms import markdown


class Report:
    """A Markdown file that grows by sections, so that what was found stays where one fails."""

    def __init__(self, path: Path, title: str):
        self.path, self.began = path, time.perf_counter()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# {title}\n")

    def section(self, title: str, *paragraphs: str) -> None:
        """Add a section, and print it."""
        text = "\n\n".join([f"## {title}", *paragraphs])
        with self.path.open("a") as file:
            file.write(f"\n{text}\n")
        print(f"\n{text}\n({time.perf_counter() - self.began:.0f} s so far)", flush=True)


def table(frame: pd.DataFrame, digits: int = 0) -> str:
    """Return a table as Markdown."""
    rows = [[str(name), *(number(x, digits) for x in row)] for name, *row in frame.itertuples()]
    return markdown(["", *map(str, frame.columns)], rows).rstrip()


def number(value: object, digits: int) -> str:
    if not isinstance(value, int | float):
        return str(value)
    return "–" if value != value else f"{value:,.{digits if abs(value) >= 100 else 2}f}"


def hardware(device: torch.device) -> str:
    """Return on what all of it was found, in a line."""
    lines = [cpu_name(), f"{os.cpu_count()} cores", f"Python {platform.python_version()}"]
    if device.type == "cuda":
        of = torch.cuda.get_device_properties(device)
        lines.insert(0, f"{of.name}, {of.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}")
    return ", ".join([*lines, f"torch {torch.__version__}"])


@exit_on_user_error
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N, or cpu (default: cuda)")
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"), help="folder for the report")
    parser.add_argument("--small", action="store_true", help="small widths; on the CPU always")
    parser.add_argument("--long", action="store_true", help="trainings to the end as well")
    parser.add_argument("--DR", help="the data that --long trains on")
    args = parser.parse_args()
    if args.long and args.DR is None:
        raise UserError("--long trains on data: say which with --DR")
    device = choose_device(args.device)
    is_small = args.small or device.type == "cpu"
    cases = [small(case) for case in CASES] if is_small else CASES
    report = Report(args.out / "report.md", f"A GPU, measured: {hardware(device)}")
    if is_small:
        report.section("Small", "Widths are small: these figures say that it runs, and no more.")

    checks = list(all_checks(device))
    rows = {c.name: {"found": f"{c.found:.2g}", "allowed": f"{c.allowed:.2g}"} for c in checks}
    for check in checks:
        rows[check.name]["holds"] = "yes" if check.holds else "**no**"
    report.section("Correctness", table(pd.DataFrame.from_dict(rows, orient="index")))

    report.section("Operations of a step as it is written", table(launches_table(cases, device)))
    repeats = 2 if is_small else 20
    steps = steps_table(cases, device, repeats)
    units = "Frames/s of training (of the robot clips/s); plain is the obvious loop in float32."
    if is_small:
        steps = steps.drop(columns="target")
    report.section("Training", units, table(steps))
    size = (2, 40) if is_small else (5, 630)
    by_name = {case.name: case for case in cases}
    lab = by_name["lab's widths, 4 × 16, rolled out"]
    report.section(
        "Rollout", table(rollout_table(lab, device, *size, repeats=1 if is_small else 3))
    )
    with tempfile.TemporaryDirectory() as folder:
        taken = tester_seconds(str(device), size[1], Path(folder))
    sequences = f"5 synthetic sequences of {size[1]} frames"
    report.section("Test", f"`Tester.py`, the whole process, {sequences}: {taken:.1f} s.")
    profiles = save_profile(by_name["quick, 16 × 2"], device, args.out)
    report.section("Profiles", "Beside this file: " + ", ".join(f"`{name}`" for name in profiles))
    if args.long:
        lines = []
        for name, flags in TRAININGS.items():
            told = trained(flags, args.DR, str(device), args.out / name.replace(" ", "_"))
            lines.append(f"- {name} (`{flags}`): {told}")
        report.section("Trainings to the end", "\n".join(lines))
    report.section(
        "Time", f"All of it took {(time.perf_counter() - report.began) / 60:.1f} minutes."
    )
    if not all(check.holds for check in checks):
        raise UserError(f"{report.path}: what is computed there is not right; see Correctness")


if __name__ == "__main__":
    main()
