"""Sweeps: several runs that differ in a few flags, one after another, ending in one report.

A sweep is a folder with a run folder for each experiment, and `sweep.json`, its plan. The same
command goes on where it was stopped.
"""

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from core.errors import UserError, why
from core.files import atomic_write, parse_json
from core.signals import PARENT

ROOT = Path(__file__).parents[1]  # where the scripts are
PLAN_FILE, DONE_FILE = "sweep.json", "finished.json"
FORMER_PLAN_FILE = "study.json"
TEST_FOLDER = "test"  # of a run folder, for the Tester's output

# The report's four runs (docs/lab.md), by the flags in which they differ.
LAB_SWEEP: dict[str, dict[str, str]] = {
    "cyclical": {"kl_anneal_type": "Cyclical"},
    "monotonic": {"kl_anneal_type": "Monotonic"},
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

    experiments: dict[str, dict[str, str]]
    shared: list[str]  # flags of the Trainer, as on a command line
    data: str  # --DR
    split: str  # of the Tester


def grid(choices: dict[str, Sequence[str]]) -> dict[str, dict[str, str]]:
    """Return an experiment for each combination of the flags' values, named after it."""
    experiments = {}
    for values in itertools.product(*choices.values()):
        flags = dict(zip(choices, values))
        name = "_".join(f"{flag.removeprefix('kl_anneal_')}={v}" for flag, v in flags.items())
        experiments[name] = flags
    return experiments


def run_sweep(sweep: Sweep, out: Path) -> list[Path]:
    """Train and test every experiment that is not done yet; return their run folders.

    Raises UserError where `out` holds another sweep, or where an experiment fails.
    """
    _keep_plan(sweep, out)
    folders = [out / name for name in sweep.experiments]
    for number, (name, flags) in enumerate(sweep.experiments.items(), 1):
        folder = out / name
        if (folder / DONE_FILE).exists():
            print(f"{number}/{len(folders)} {name}: done before", flush=True)
            continue
        print(f"{number}/{len(folders)} {name}: training", flush=True)
        own = [word for flag, value in flags.items() for word in (f"--{flag}", value)]
        # The same command goes on with a begun run, and has nothing to do for a trained one.
        _call("Trainer.py", "--DR", sweep.data, *sweep.shared, *own, "--save_root", str(folder))
        _call("Tester.py", "--DR", sweep.data, "--save_root", str(folder / TEST_FOLDER),
              "--ckpt_path", str(folder), "--split", sweep.split, "--no_report")  # fmt: skip
        with atomic_write(folder / DONE_FILE) as file:
            file.write(json.dumps(flags).encode())
    return folders


def _keep_plan(sweep: Sweep, out: Path) -> None:
    """Write the plan, or check that the one there is the same."""
    former, plan = out / FORMER_PLAN_FILE, asdict(sweep)
    path = former if former.exists() else out / PLAN_FILE
    try:
        if path.exists():
            if parse_json(path.read_text()) != plan:
                raise UserError(
                    f"{path}: another sweep is in this folder; give another --out, or the flags "
                    "it was begun with"
                )
            return
        out.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            file.write(json.dumps(plan, indent=2).encode())
    except OSError as error:
        raise UserError(f"--out {out}: {why(error)}") from None
    except ValueError as error:
        raise UserError(f"{path}: not the plan of a sweep ({error})") from None


def _call(script: str, *flags: str) -> None:
    """Run a script; its words go to the terminal. Raises UserError where it fails."""
    # In a session of its own, so that Ctrl-C reaches it once, from here; a second ends it at once.
    process = subprocess.Popen(
        [sys.executable, str(ROOT / script), *flags],
        start_new_session=True,
        env=os.environ | {PARENT: str(os.getpid())},
    )
    ended: BaseException | None = None
    while True:
        try:
            code = process.wait()
            break
        except (SystemExit, KeyboardInterrupt) as signal:  # it saves first
            ended = signal
            process.terminate()
    if ended is not None:
        raise ended
    if code != 0:
        raise UserError(
            f"{script} ended with code {code} (its words are above); the same command "
            "goes on with the sweep"
        )
