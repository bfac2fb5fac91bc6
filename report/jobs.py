"""Jobs: scripts run in processes of their own, side by side on several devices.

None outlives this process: a signal is passed on to all, and waited for until they have saved.
"""

import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.signals import PARENT, StopRequest

ROOT = Path(__file__).parents[1]  # where the scripts are
DOING = {"Trainer.py": "training", "Tester.py": "testing"}
POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Job:
    """Commands to run one after another, each a script and its flags; `finish` ends them."""

    name: str
    commands: Sequence[Sequence[str]]
    finish: Callable[[], None]


@dataclass(frozen=True)
class _Running:
    job: Job
    number: int  # of the command
    process: subprocess.Popen
    log: Path | None  # None: its words go to the terminal


def run_jobs(jobs: Sequence[Job], devices: Sequence[str | None], logs: Path) -> dict[str, str]:
    """Run all jobs, one at a time on each device; return what failed: by job, in what way.

    A device is the value of `--device`, None to leave it to the script. Of several at a time the
    words go to a file each in `logs`. A job that fails takes no other along. A signal ends all of
    them, in order, and raises SystemExit.
    """
    waiting = deque(enumerate(jobs, 1))
    running: dict[int, _Running] = {}  # by number of the device
    failed: dict[str, str] = {}
    with StopRequest() as stop:
        try:
            while (waiting or running) and not stop.requested:
                for at, device in enumerate(devices):
                    if at not in running and waiting:
                        number, job = waiting.popleft()
                        log = logs / f"{job.name}.log" if len(devices) > 1 else None
                        print(f"{number}/{len(jobs)} {job.name}{_where(device, log)}", flush=True)
                        running[at] = _begin(job, 0, device, log)
                    elif at in running and (code := running[at].process.poll()) is not None:
                        ended = running.pop(at)
                        if code != 0:
                            failed[ended.job.name] = _failure(ended, code)
                            print(f"{ended.job.name}: {failed[ended.job.name]}", flush=True)
                        elif ended.number + 1 < len(ended.job.commands):
                            running[at] = _begin(ended.job, ended.number + 1, device, ended.log)
                        else:
                            ended.job.finish()
                time.sleep(POLL_SECONDS)
        finally:
            for one in running.values():
                one.process.terminate()
            for one in running.values():
                one.process.wait()
        if stop.requested:
            raise SystemExit(128 + stop.signum)
    return failed


def _where(device: str | None, log: Path | None) -> str:
    return (f" on {device}" if device else "") + (f", its words in {log}" if log else "")


def _begin(job: Job, number: int, device: str | None, log: Path | None) -> _Running:
    script, *flags = job.commands[number]
    print(f"{job.name}: {DOING.get(script, script)}", flush=True)
    if device is not None:
        flags += ["--device", device]
    command = [sys.executable, str(ROOT / script), *flags]
    # In a session of its own, so that Ctrl-C reaches it once, from here.
    how = {"start_new_session": True, "env": os.environ | {PARENT: str(os.getpid())}}
    if log is None:
        return _Running(job, number, subprocess.Popen(command, **how), log)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        return _Running(
            job, number, subprocess.Popen(command, stdout=file, stderr=file, **how), log
        )


def _failure(ended: _Running, code: int) -> str:
    """Return in words how a process failed."""
    script = ended.job.commands[ended.number][0]
    how = f"ended with code {code}" if code > 0 else f"was ended by signal {-code}"
    if ended.log is None:
        return f"{script} {how} (its words are above)"
    lines = ended.log.read_text(errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
    return f"{script} {how}: {last[-300:]}"
