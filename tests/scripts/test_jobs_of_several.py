"""Jobs of several processes that are killed, stopped, resumed in another number, and tested."""

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from engine.checkpoints import checkpoint
from engine.training.run import Run
from tests.support.runs import assert_close, assert_same_run
from tests.support.scripts import (
    join,
    rows_of,
    start,
    start_ranks,
    train,
    train_here,
    train_in_ranks,
)

WIDTHS = "--F_dim 8 --L_dim 2 --N_dim 4 --D_out_dim 8 --device cpu --precision fp32"
# Everything that has a state; 2 to 4 steps an epoch.
RUN = (
    f"{WIDTHS} --train_vi_len 4 --num_epoch 3 --prediction_buffer --tfr_granularity batch "
    "--tfr 0.7 --tfr_sde 0 --augment --context_swap 0.4 --lr 0.002 --lr_warmup 5 --per_save 2 "
    "--per_val 2 --holdout 40:50"
)


def assert_close_weights(folder: Path, other: Path) -> None:
    a, b = (checkpoint.load(place / "last.ckpt") for place in (folder, other))
    assert a["step"] == b["step"]
    assert_close(a["state_dict"], b["state_dict"])


# ------------------------------------------------------------------ steps and scores


@pytest.fixture(scope="module")
def undisturbed(dance_root, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pair") / "run"
    flags = f"--DR {dance_root} --save_root {folder} {RUN} --batch_size 2"
    codes, said = train_in_ranks(2, flags, folder.with_suffix(".out"))
    assert codes == [0, 0], said
    assert "2 processes × --batch_size 2 = 4 windows a step" in said
    assert said.count("best.ckpt: epoch") == said.count("baselines on val") == 1
    return folder


def killed_once(flags: str, output: Path) -> None:
    """Train; the second process is killed in the middle of an epoch, the first time."""
    if os.environ["RANK"] == "1" and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        after_step(8, lambda: os.kill(os.getpid(), signal.SIGKILL))
    train_here(flags, output)


def test_a_worker_is_killed_and_torchrun_ends_as_if_it_had_not(dance_root, undisturbed, tmp_path):
    """By what `torchrun` calls, so that its processes need not import everything anew."""
    flags = f"--DR {dance_root} --save_root {tmp_path / 'run'} {RUN} --batch_size 2"
    flags += " --save_every_minutes 0.00001"
    output = tmp_path / "output"
    launch = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=2,
        max_restarts=1,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        start_method="forkserver",
    )
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
    handlers = {number: signal.getsignal(number) for number in numbers}
    try:
        elastic_launch(launch, killed_once)(flags, output)
    finally:  # it leaves its own behind
        for number, handler in handlers.items():
            signal.signal(number, handler)
    said = output.read_text()
    assert "process 0 lost the others" in said
    assert "going on from" in said
    assert "Traceback" not in said
    assert_same_run(tmp_path / "run", undisturbed)


def after_step(step: int, act: Callable[[], None]) -> None:
    """Do something after a step of this process's run."""
    take = Run.train_step

    def watched(self, *arguments):
        metrics = take(self, *arguments)
        if self.step == step:
            act()
        return metrics

    Run.train_step = watched


def signalled(flags: str, output: Path) -> None:
    """Train; the second process gets a signal in the middle of an epoch."""
    if os.environ["RANK"] == "1":
        after_step(4, lambda: os.kill(os.getpid(), signal.SIGTERM))
    train_here(flags, output)


@pytest.fixture
def stopped(dance_root, tmp_path) -> Path:
    """A run in two processes, ended by a signal to the second in the middle of an epoch."""
    flags = f"--DR {dance_root} --save_root {tmp_path / 'run'} {RUN} --batch_size 2"
    assert join(start_ranks(2, signalled, flags, tmp_path / "out")) == [143, 143]
    assert checkpoint.load(tmp_path / "run" / "last.ckpt")["step"] == 4
    return tmp_path / "run"


def test_a_signal_to_one_process_stops_all_after_the_same_step(dance_root, undisturbed, stopped):
    flags = f"--DR {dance_root} --save_root {stopped} {RUN} --batch_size 2"
    codes, said = train_in_ranks(2, flags, stopped.with_suffix(".out"))
    assert codes == [0, 0], said
    assert said.count("going on from") == 1
    assert_same_run(stopped, undisturbed)


def test_three_processes_go_on_bit_for_bit(dance_root, tmp_path):
    """Of two numbers the order does not matter to a sum; of three it does.

    Widths that fill more than one bucket.
    """
    wide = RUN.replace("--D_out_dim 8", "--D_out_dim 128 --frame_H 16 --frame_W 32")
    flags = f"--DR {dance_root} --save_root {{}} {wide} --batch_size 1"
    places = tmp_path / "whole", tmp_path / "resumed"
    codes, said = train_in_ranks(3, flags.format(places[0]), tmp_path / "whole.out")
    assert codes == [0, 0, 0], said
    begun = join(start_ranks(3, signalled, flags.format(places[1]), tmp_path / "begun.out"))
    assert begun == [143, 143, 143]
    assert checkpoint.load(places[1] / "last.ckpt")["step"] == 4
    codes, said = train_in_ranks(3, flags.format(places[1]), tmp_path / "resumed.out")
    assert codes == [0, 0, 0], said
    assert said.count("going on from") == 1
    assert_same_run(*places)


def test_a_run_goes_on_in_another_number_of_processes(dance_root, undisturbed, stopped):
    flags = f"--DR {dance_root} --save_root {stopped} {RUN}"
    other = Path(shutil.copytree(stopped, stopped.with_name("other")))
    code, said = train(f"{flags} --batch_size 4", stopped.with_suffix(".out"))
    assert code == 0, said
    assert "going on from" in said
    assert_close_weights(stopped, undisturbed)  # the same global batch: to rounding

    # Another global batch, as after the loss of a machine: of epoch 1, one step of 4 windows is
    # done, which are 2 of the 6 steps of 2 windows; 4 are left, and 6 of the last epoch.
    code, said = train(
        f"--DR {dance_root} --save_root {other} {RUN} --batch_size 2", other.with_suffix(".out")
    )
    assert code == 0, said
    assert "going on from" in said
    assert not list(other.glob("previous-*"))
    assert checkpoint.load(other / "last.ckpt")["step"] == 4 + 4 + 6
    assert [row["epoch"] for row in rows_of(other)] == ["0", "1", "2"]


def test_time_is_that_of_the_first_process(dance_root, tmp_path):
    """Processes that each looked at their own clock would wait for each other for ever."""
    flags = f"--DR {dance_root} --save_root {tmp_path / 'run'} {WIDTHS} --minutes 0.02"
    codes, said = train_in_ranks(2, f"{flags} --train_vi_len 4", tmp_path / "out")
    assert codes == [0, 0], said


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ("--DR {root} --holdout 9:3", "must have 0 <= A < B"),
        ("--DR {root}/none", "no such folder"),
        ("--DR {root} --batch_size 40", "40 × 2 processes is more than"),
    ],
)
def test_bad_input_is_told_once(dance_root, tmp_path, flags, reason):
    flags = f"{flags.format(root=dance_root)} --save_root {tmp_path / 'run'} --device cpu"
    codes, said = train_in_ranks(2, flags, tmp_path / "out")
    assert codes == [2, 2]
    assert said.count(reason) == 1
    assert "Traceback" not in said


def roll_out_in_ranks(argv: list[str]) -> None:
    import Tester

    torch.set_num_threads(1)
    sys.argv = ["Tester.py", *argv]
    Tester.main()


def test_the_tester_shares_sequences_out(dance_root, undisturbed, tmp_path):
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        flags = f"--DR {dance_root} --ckpt_path {undisturbed} --save_root {folder} --device cpu"
        if processes == 1:
            codes = join([start(roll_out_in_ranks, flags.split())])
        else:
            codes = join(start_ranks(processes, roll_out_in_ranks, flags.split()))
        assert codes == [0] * processes
    one, two = (
        np.loadtxt(tmp_path / name / "submission.csv", delimiter=",", skiprows=1, dtype=int)
        for name in ("1", "2")
    )
    assert np.abs(one - two).max() <= 1
    names = [sorted(path.name for path in (tmp_path / n).iterdir()) for n in ("1", "2")]
    assert names[0] == names[1]
