"""Sweeps: several runs that differ in some flags, ending in one report.

A sweep is a folder with a run folder for each experiment, and `sweep.json`, its plan. The same
command goes on where it was stopped, and so does one with more values of the same flags.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from core.errors import UserError, why
from core.files import atomic_write, parse_json
from report.jobs import Job, run_jobs
from report.sweep_flags import Experiments, as_words

PLAN_FILE, DONE_FILE = "sweep.json", "finished.json"
FORMER_PLAN_FILE = "study.json"
TEST_FOLDER = "test"  # of a run folder, for the Tester's output
LOG_FOLDER = "logs"  # of a sweep, for the words of runs side by side

# The report's four runs (docs/lab.md) and one without annealing, by the flags in which they differ.
LAB_SWEEP: Experiments = {
    "cyclical": {"kl_anneal_type": "Cyclical"},
    "monotonic": {"kl_anneal_type": "Monotonic"},
    "none": {"kl_anneal_type": "None"},
    "cyclical-20-0.5-free": {
        "kl_anneal_type": "Cyclical",
        "kl_anneal_cycle": "20",
        "kl_anneal_ratio": "0.5",
        "tfr": "0",
    },
    "cyclical-20-0.8": {
        "kl_anneal_type": "Cyclical",
        "kl_anneal_cycle": "20",
        "kl_anneal_ratio": "0.8",
    },
}


@dataclass(frozen=True)
class Sweep:
    """What is to be trained: for each experiment its own flags, and the flags of all."""

    experiments: Experiments
    shared: list[str]  # flags of the Trainer, as on a command line
    data: str  # --DR
    split: str  # of the Tester

    def trainer_flags(self, name: str, out: Path) -> list[str]:
        """Return the command line of the Trainer for an experiment, without the script."""
        own = as_words(self.experiments[name])
        return ["--DR", self.data, *self.shared, *own, "--save_root", str(out / name)]


def run_sweep(
    sweep: Sweep, out: Path, devices: Sequence[str | None] = (None,)
) -> tuple[list[Path], dict[str, str]]:
    """Train and test every experiment that is not done yet, one at a time on each device.

    Returns the run folders of all that are done, and by name what failed. Raises UserError where
    `out` holds another sweep, SystemExit where a signal stops it.
    """
    _keep_plan(sweep, out)
    jobs = []
    for name in sweep.experiments:
        if (out / name / DONE_FILE).exists():
            print(f"{name}: done before", flush=True)
        else:
            jobs.append(_job(sweep, name, out))
    failed = run_jobs(jobs, devices, out / LOG_FOLDER)
    return [out / name for name in sweep.experiments if name not in failed], failed


def _job(sweep: Sweep, name: str, out: Path) -> Job:
    folder = out / name

    def finish() -> None:
        with atomic_write(folder / DONE_FILE) as file:
            file.write(json.dumps(sweep.experiments[name]).encode())

    # The same command goes on with a begun run, and has nothing to do for a trained one.
    train = ["Trainer.py", *sweep.trainer_flags(name, out)]
    test = ["Tester.py", "--DR", sweep.data, "--save_root", str(folder / TEST_FOLDER),
            "--ckpt_path", str(folder), "--split", sweep.split, "--no_report"]  # fmt: skip
    return Job(name, [train, test], finish)


def _keep_plan(sweep: Sweep, out: Path) -> None:
    """Write the plan, or check that the one there is the same, or a part of it."""
    former, plan = out / FORMER_PLAN_FILE, asdict(sweep)
    path = former if former.exists() else out / PLAN_FILE
    try:
        if path.exists():
            kept = parse_json(path.read_text())
            if kept == plan:
                return
            if not _is_part(kept, plan):
                raise UserError(
                    f"{path}: another sweep is in this folder; give another --out, or the flags "
                    "it was begun with"
                )
        out.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            file.write(json.dumps(plan, indent=2).encode())
    except OSError as error:
        raise UserError(f"--out {out}: {why(error)}") from None
    except ValueError as error:
        raise UserError(f"{path}: not the plan of a sweep ({error})") from None


def _is_part(kept: object, plan: dict) -> bool:
    """Tell whether a plan has every experiment of another one as it was, and the rest alike."""
    if not isinstance(kept, dict) or not isinstance(kept.get("experiments"), dict):
        raise ValueError("no experiments are in it")
    alike = {**kept, "experiments": None} == {**plan, "experiments": None}
    return alike and kept["experiments"].items() <= plan["experiments"].items()
