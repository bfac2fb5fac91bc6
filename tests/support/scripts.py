"""The scripts as a user runs them: as processes, from the command line."""

import csv
import multiprocessing
import os
import resource
import runpy
import shlex
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.support import ROOT

TINY = "--F_dim 8 --L_dim 2 --N_dim 4 --D_out_dim 8 --train_vi_len 4 --batch_size 2 --device cpu"
TINY_ROBOT = (
    "--model svg --preset quick --vgg_width 2 --g_dim 6 --z_dim 3 --rnn_size 8 --n_future 3 "
    "--n_eval 6 --batch_size 2 --epoch_size 3 --niter 2 --per_val 1 --per_save 1 --device cpu "
    "--precision fp32"
)


def run(script: str, flags: str, **environment: str) -> subprocess.CompletedProcess:
    """Run a script with the flags as one line of shell.

    In a process that has imported most of it already; with an environment of its own, in a new one.
    """
    words, limit = shlex.split(flags), 300  # seconds
    variables = os.environ | {"OMP_NUM_THREADS": "1"} | environment
    if environment:
        command = [sys.executable, str(ROOT / script), *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=limit, env=variables)
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, name) for name in ("out", "err")]
        process = start(_run_here, script, words, variables, os.getcwd(), files)
        process.join(limit)
        if process.is_alive():
            process.kill()
            raise subprocess.TimeoutExpired([script, *words], limit)
        said = (file.read_text() for file in files)
        return subprocess.CompletedProcess([script, *words], process.exitcode, *said)


def _run_here(script: str, words: list[str], variables: dict, folder: str, files: list[Path]):
    """Run a script in this process, which ends with it; its output goes to two files."""
    for descriptor, file in enumerate(files, 1):
        os.dup2(os.open(file, os.O_CREAT | os.O_WRONLY), descriptor)
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(folder)
    import torch

    torch.set_num_threads(1)
    sys.argv = [str(ROOT / script), *words]
    runpy.run_path(sys.argv[0], run_name="__main__")


def good(done: subprocess.CompletedProcess) -> str:
    """Return what a run printed, which must have ended well."""
    assert done.returncode == 0, done.stderr
    return done.stdout


def rows_of(folder: Path) -> list[dict]:
    with (folder / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def start_training(
    flags: str, output: Path, largest_file: int | None = None
) -> multiprocessing.Process:
    """Start a Trainer in a process that has imported torch already, so that many are cheap.

    What it prints is appended to `output`. With `largest_file`, in bytes, writing beyond that
    fails, as it does on a full disk.
    """
    return start(train_here, flags, output, largest_file)


def start(target: Callable, *arguments) -> multiprocessing.Process:
    """Call a function in a process that has imported the Trainer already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["Trainer", "torch._dynamo"])
    process = context.Process(target=target, args=arguments)
    process.start()
    return process


def start_ranks(processes: int, target: Callable, *arguments) -> list[multiprocessing.Process]:
    """Call a function in several processes, each told its place as torchrun tells it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    place = {"WORLD_SIZE": processes, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return [
        start(_as_rank, place | {"RANK": rank, "LOCAL_RANK": rank}, target, *arguments)
        for rank in range(processes)
    ]


def join(ranks: list[multiprocessing.Process]) -> list[int]:
    """Wait for all processes and return their exit codes."""
    for process in ranks:
        process.join(120)
        process.kill()
    return [process.exitcode for process in ranks]


def _as_rank(place: dict, target: Callable, *arguments) -> None:
    os.environ |= {name: str(value) for name, value in place.items()}
    target(*arguments)


def train(flags: str, output: Path, largest_file: int | None = None) -> tuple[int, str]:
    """Run a Trainer in such a process; return its exit code and what it printed."""
    before = output.stat().st_size if output.exists() else 0
    process = start_training(flags, output, largest_file)
    process.join(300)
    return process.exitcode, output.read_bytes()[before:].decode()


def train_in_ranks(processes: int, flags: str, output: Path) -> tuple[list[int], str]:
    """Train in several processes; return their exit codes and what they printed."""
    before = output.stat().st_size if output.exists() else 0
    codes = join(start_ranks(processes, train_here, flags, output))
    return codes, output.read_bytes()[before:].decode()


def train_here(flags: str, output: Path, largest_file: int | None = None) -> None:
    """Train in this process, which ends with it."""
    if largest_file is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, resource.RLIM_INFINITY))
    descriptor = os.open(output, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    import torch

    import Trainer

    torch.set_num_threads(1)
    sys.argv = ["Trainer.py", *shlex.split(flags)]
    Trainer.main()
