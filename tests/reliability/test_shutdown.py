"""How a program ends: by signals, by its parent's end, without anybody who reads what it says."""

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

import Trainer
from core.output import unfailing_output
from data.store.shards import open_shards, write_shard
from engine.checkpoints import checkpoint
from engine.training.loop import TrainingLoop
from engine.training.run import Run
from tests.support import toy
from tests.support.hostile import call
from tests.support.scripts import ROOT, TINY, start

TOY = (
    *("--model", "toy", "--DR", ".", "--batch_size", "12", "--device", "cpu"),
    *("--precision", "fp32", "--toy_rank", "3"),
)


@pytest.fixture
def known():
    with toy.registered():
        yield


def in_child(work, output: Path) -> int:
    """Return the exit code of a child that does the work, its output in a file."""
    child = os.fork()
    if child == 0:
        descriptor = os.open(output, os.O_CREAT | os.O_WRONLY)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        code = 70
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def ends(pid: int, seconds: float) -> bool:
    """Tell whether a process that is not ours ends within some time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text():
                return True
        except OSError:
            return True
        time.sleep(0.05)
    return False


def wait_for(path: Path, text: str, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not (path.exists() and text in path.read_text(errors="replace")):
        assert time.monotonic() < deadline, path.read_text() if path.exists() else "silent"
        time.sleep(0.05)


# -------------------------------------------------------------------------- trouble with output


@pytest.mark.parametrize("trouble", ["nobody reads", "full", "closed"])
def test_a_run_goes_on_that_nobody_can_read(known, tmp_path, trouble):
    """`| head -1`, a log on a full disk, `>&-`: all is written that would have been."""

    def train() -> None:
        if trouble == "nobody reads":
            reading, writing = os.pipe()
            os.close(reading)
        elif trouble == "full":
            writing = os.open("/dev/full", os.O_WRONLY)
        else:
            writing = None
        for number, name in ((1, "stdout"), (2, "stderr")):
            if writing is None:
                setattr(sys, name, None)
            else:
                os.dup2(writing, number)
                setattr(sys, name, os.fdopen(number, "w", buffering=1, closefd=False))
        sys.argv = ["Trainer.py", *map(str, TOY), "--num_epoch", "3", "--save_root", str(folder)]
        torch.set_num_threads(1)
        Trainer.main()

    folder = tmp_path / "run"
    assert in_child(train, tmp_path / "output") == 0
    assert checkpoint.load(folder / "last.ckpt")["last_epoch"] == 2
    assert len((folder / "metrics.csv").read_text().splitlines()) == 4


def test_what_is_closed_is_not_taken_for_the_next_file(dance_root, tmp_path):
    """Else a library's words to standard error would stand in a checkpoint."""
    flags = f"--DR {dance_root} --save_root {tmp_path / 'run'} {TINY} --num_epoch 1"
    line = f"{sys.executable} {ROOT / 'Trainer.py'} {flags} <&- >&- 2>&-"
    assert (
        subprocess.run(["sh", "-c", line], env=os.environ | {"OMP_NUM_THREADS": "1"}).returncode
        == 0
    )
    assert checkpoint.load(tmp_path / "run/last.ckpt")["last_epoch"] == 0


def test_a_disk_that_has_room_again_has_the_log_again(tmp_path, monkeypatch):
    class Disk:
        full, text = True, ""

        def write(self, text):
            if self.full:
                raise OSError(28, "No space left on device")
            self.text += text

        def flush(self): ...

    disk = Disk()
    monkeypatch.setattr(sys, "stdout", disk)
    with unfailing_output():
        print("lost")
        disk.full = False
        print("told")
    assert disk.text.endswith("told\n")
    assert "lost" not in disk.text


# --------------------------------------------------------------------------------------- signals


def test_a_closed_terminal_stops_a_run_as_sigterm_does(known, tmp_path, monkeypatch):
    taken = Run.train_step

    def step(self, *arguments):
        metrics = taken(self, *arguments)
        if self.step == 2:
            os.kill(os.getpid(), signal.SIGHUP)
        return metrics

    monkeypatch.setattr(Run, "train_step", step)
    code, said = call(Trainer, *TOY, "--num_epoch", "3", "--save_root", tmp_path / "run")
    assert code == 129, said
    assert checkpoint.load(tmp_path / "run/last.ckpt")["step"] == 2


def test_under_nohup_a_run_goes_on(known, tmp_path, monkeypatch):
    taken = Run.train_step

    def step(self, *arguments):
        os.kill(os.getpid(), signal.SIGHUP)
        return taken(self, *arguments)

    monkeypatch.setattr(Run, "train_step", step)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        code, said = call(Trainer, *TOY, "--num_epoch", "1", "--save_root", tmp_path / "run")
    finally:
        signal.signal(signal.SIGHUP, before)
    assert code == 0, said


def test_a_signal_while_the_script_is_imported_ends_it_in_one_line(tmp_path):
    slow = tmp_path / "argparse.py"  # the first that Trainer.py imports
    slow.write_text("print('importing', flush=True)\nimport time\ntime.sleep(60)\n")
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "Trainer.py"), "--help"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )
    assert process.stdout.readline() == "importing\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    assert process.stderr.read() == "interrupted\n"


def test_standing_still_is_no_training_time(known, tmp_path, monkeypatch):
    """SIGSTOP for two seconds, in a run of three."""
    taken, started = Run.train_step, []

    def step(self, *arguments):
        if self.step == 5:
            waker = subprocess.Popen(["sh", "-c", f"sleep 2; kill -CONT {os.getpid()}"])
            started.append(waker)
            os.kill(os.getpid(), signal.SIGSTOP)
        time.sleep(0.02)
        return taken(self, *arguments)

    monkeypatch.setattr(Run, "train_step", step)
    runs = []
    loop = TrainingLoop.__init__
    monkeypatch.setattr(
        TrainingLoop,
        "__init__",
        lambda self, run, *rest: (runs.append(run), loop(self, run, *rest))[0],
    )
    begun = time.monotonic()
    code, said = call(Trainer, *TOY, "--minutes", "0.02", "--save_root", tmp_path / "run")
    for waker in started:
        waker.wait()
    assert code == 0, said
    assert started
    spent, passed = runs[0].seconds, time.monotonic() - begun
    assert 1.2 <= spent < 2.2
    assert passed > spent + 1.9
    assert runs[0].step > 30


# --------------------------------------------------------------------------------------- orphans


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_the_trainer_of_a_sweep_ends_with_it(dance_root, tmp_path, signum):
    out, output = tmp_path / "sweep", tmp_path / "output"
    flags = f"--study --DR {dance_root} --out {out} --tfr 0 -- {TINY} --num_epoch 100000"
    with output.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "Reporter.py"), *shlex.split(flags)],
            stdout=file,
            stderr=file,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
    wait_for(output, "epoch 1/")
    (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.send_signal(signum)
    code = process.wait(60)
    assert code == (-9 if signum == signal.SIGKILL else 128 + signum), output.read_text()
    assert ends(int(child), 60)
    assert "goes on from there" in output.read_text()
    assert "Traceback" not in output.read_text()
    assert (out / "tfr=0/last.ckpt").exists()


def note_and_wait(folder: Path) -> None:
    """Be a worker that trains for ever."""
    from core.errors import exit_on_user_error

    @exit_on_user_error
    def main() -> None:
        (folder / f"{os.getpid()}.pid").touch()
        time.sleep(120)

    main()


def launch(folder: Path) -> None:
    config = LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=2, run_id="orphans", rdzv_backend="c10d",
        rdzv_endpoint="localhost:0", max_restarts=0, start_method="fork",
    )  # fmt: skip
    elastic_launch(config, note_and_wait)(folder)


def test_killed_torchrun_takes_its_workers_along(tmp_path):
    process = start(launch, tmp_path)
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob("*.pid"))) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.kill()
    process.join()
    assert all(ends(int(path.stem), 20) for path in tmp_path.glob("*.pid"))


# --------------------------------------------------------------------------------- mapped files


def test_a_cache_file_that_is_cut_short_while_it_is_read_is_named(tmp_path):
    file = tmp_path / "shard.npy"
    frames = np.ones((500, 16, 32, 3), np.uint8)
    write_shard(file, frames)

    def read() -> None:
        (mapped,) = open_shards([file], [slice(0, 500)], 16, 32)
        os.truncate(file, 4096)
        mapped.sum()

    assert in_child(read, tmp_path / "output") == 2
    assert "shard.npy: cut short" in (tmp_path / "output").read_text()
