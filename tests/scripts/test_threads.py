"""The number of threads: who says it, what happens beside other work, and what a run remembers."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import Trainer
from core import threads
from core.threads import SlowdownWatch, Threads, choose_threads
from core.waiting import VARIABLES
from engine.checkpoints import checkpoint
from tests.support.hostile import SMALL, call

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def put_back(monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads, "cores", lambda: 4)
    yield
    monkeypatch.undo()
    torch.set_num_threads(before)


@pytest.fixture
def rates(monkeypatch):
    """`rates.update({threads: turns a second})`: how quick a machine is made to look."""
    turns, clock = {4: 1000.0, 3: 900.0, 2: 600.0, 1: 300.0}, [0.0]

    def work():
        clock[0] += 1 / turns[torch.get_num_threads()]

    monkeypatch.setattr(threads, "_work", work)
    monkeypatch.setattr(threads.time, "perf_counter", lambda: clock[0])
    torch.set_num_threads(4)
    return turns


BUSY = {4: 10.0, 3: 20.0, 2: 150.0, 1: 280.0}


# ---------------------------------------------------------------------- the choice


def test_on_a_quiet_machine_all_cores_compute(rates):
    assert choose_threads(None, CPU) == Threads(4, "", 4, ours=True)
    rates[3] = 1400.0  # quicker, but not clearly: no run is another by a hair
    assert choose_threads(None, CPU).number == 4


def test_beside_other_work_fewer_do(rates):
    rates.update(BUSY)
    chosen = choose_threads(None, CPU)
    assert chosen.number == torch.get_num_threads() == 1
    assert str(chosen) == "1 thread on 4 cores (other work there: 28.0 times as quick as 4)"


def test_who_says_a_number_gets_it(rates, monkeypatch):
    rates.update(BUSY)
    assert choose_threads(3, CPU).number == torch.get_num_threads() == 3
    torch.set_num_threads(4)
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert choose_threads(None, CPU) == Threads(4)


def test_nothing_is_compared_on_a_gpu_or_in_several_processes(rates, monkeypatch):
    rates.update(BUSY)
    assert choose_threads(None, torch.device("cuda")).number == 4
    monkeypatch.setattr(threads.distributed, "world_size", lambda: 2)
    assert choose_threads(None, CPU).number == 4


def test_a_resumed_run_has_as_many_as_before_however_busy_the_machine(rates):
    rates.update(BUSY)
    assert choose_threads(None, CPU, before=2).number == torch.get_num_threads() == 2
    assert choose_threads(3, CPU, before=2).number == 3
    assert choose_threads(None, CPU, before=5).number == 1, "more than there are cores"


def test_the_comparison_takes_real_threads_and_little_time():
    torch.set_num_threads(2)
    chosen = choose_threads(None, CPU)
    assert chosen.number in (1, 2)
    assert chosen.most == 2


# ----------------------------------------------------------------------- on the way


def steps(watch: SlowdownWatch, seconds: float, often: int) -> list[str]:
    return [said for _ in range(often) if (said := watch.after_step(seconds))]


def test_a_run_counted_in_epochs_keeps_its_threads_and_says_once_that_it_slows(rates):
    watch = SlowdownWatch(choose_threads(None, CPU), adapts=False)
    assert steps(watch, 0.1, 300) == []
    rates.update(BUSY)
    (said,) = steps(watch, 0.5, 300)
    assert "5.0 times as long" in said
    assert "--threads 2" in said
    assert torch.get_num_threads() == 4


def test_a_run_counted_in_minutes_takes_fewer_and_then_all_again(rates):
    watch = SlowdownWatch(choose_threads(None, CPU), adapts=True)
    assert steps(watch, 0.1, 300) == []
    quiet = dict(rates)
    rates.update(BUSY)
    (said,) = steps(watch, 0.5, 60)
    assert said.startswith("1 thread from here on, not 4: other work there")
    assert torch.get_num_threads() == 1
    rates.update(quiet)
    (said,) = steps(watch, 0.3, 300)
    assert said == "4 threads from here on, not 1: the cores are free again"


def test_a_number_that_was_asked_for_is_never_changed(rates):
    watch = SlowdownWatch(choose_threads(3, CPU), adapts=True)
    rates.update(BUSY)
    (said,) = [*steps(watch, 0.1, 200), *steps(watch, 1.0, 200)]
    assert "--threads 1" in said
    assert torch.get_num_threads() == 3


# ------------------------------------------------------------------------- in a run


def train(root, folder, *flags):
    code, said = call(
        Trainer, "--DR", root, "--save_root", folder, *SMALL, "--batch_size", "1", *flags
    )
    assert code == 0, said
    return said


def test_a_run_remembers_its_threads_and_resumes_with_them(small_root, tmp_path, monkeypatch):
    """The numbers are told and asked for; one thread computes, so that little is waited."""
    told = [1]
    monkeypatch.setattr(torch, "get_num_threads", lambda: told[0])
    monkeypatch.setattr(torch, "set_num_threads", lambda number: told.__setitem__(0, number))
    said = train(small_root, tmp_path / "run", "--num_epoch", "1", "--threads", "2")
    assert "2 threads on 4 cores (--threads)" in said
    assert checkpoint.load(tmp_path / "run" / "last.ckpt")["threads"] == 2
    torch.set_num_threads(1)
    said = train(small_root, tmp_path / "run", "--num_epoch", "2")
    assert "2 threads on 4 cores (as before)" in said
    torch.set_num_threads(1)
    said = train(small_root, tmp_path / "run", "--num_epoch", "3", "--threads", "1")
    assert "going on from" in said, "another number of threads makes no other run"
    assert "trained on 2 threads so far, from here on 1" in said
    with (tmp_path / "run" / "metrics.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 3


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, "10000"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "None"), ({"GOMP_SPINCOUNT": "9"}, "9")],
)
@pytest.mark.parametrize("script", ["Trainer", "Tester"])
def test_threads_soon_sleep_while_they_wait_unless_somebody_said_otherwise(script, given, expected):
    """Asked when torch is imported, which is when OpenMP reads it."""
    code = (
        "import os, sys, types\n"
        "class Torch(types.ModuleType):\n"
        "    def __getattr__(self, name):\n"
        "        print(os.environ.get('GOMP_SPINCOUNT')); sys.stdout.flush(); os._exit(0)\n"
        "sys.modules['torch'] = Torch('torch')\n"
        f"import {script}\n"
    )
    clean = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=clean | given, capture_output=True, text=True
    )
    assert done.stdout.strip() == expected, done.stderr
