"""Runs that are killed, stopped and resumed end as if nothing had happened."""

import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch

from engine.checkpoints import checkpoint
from tests.support.runs import assert_same_run, wait_for_output
from tests.support.scripts import TINY, rows_of, start_training, train

# Everything that has a state: the prediction buffer, frames that look otherwise until the last
# epoch, batches with and without teacher forcing,
# cyclical KL.
RUN = (
    f"{TINY} --num_epoch 5 --prediction_buffer --tfr_granularity batch --tfr 0.7 --tfr_sde 0 "
    "--positional_bias "
    "--lr 0.002 --lr_warmup 5 --per_save 2 --per_val 2 --holdout 40:50 --precision fp32 "
    "--optim Muon --augment --context_swap 0.3 --zoom_prob 0.4 --limb_dropout 0.2"
)
SAVING_ALL_THE_TIME = "--save_every_minutes 0.00001"


def train_to_the_end(root: Path, folder: Path, flags: str = "") -> str:
    """Train `RUN` and return what it printed; it must have ended well."""
    code, said = train(
        f"--DR {root} --save_root {folder} {RUN} {flags}", folder.with_suffix(".out")
    )
    assert code == 0, said
    return said


@pytest.fixture(scope="module")
def undisturbed(dance_root, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    train_to_the_end(dance_root, folder)
    return folder


# ---------------------------------------------------------------------- kills


@pytest.mark.parametrize("kills", [6, pytest.param(50, marks=pytest.mark.slow)])
def test_killed_at_random_moments_a_run_ends_as_the_undisturbed_one(
    dance_root, undisturbed, tmp_path, kills
):
    flags = f"--DR {dance_root} --save_root {tmp_path / 'run'} {RUN} {SAVING_ALL_THE_TIME}"
    output, moments = tmp_path / "output", random.Random(kills)
    done = 0
    while done < kills:
        process = start_training(flags, output)
        process.join(moments.uniform(0.05, 1.5))
        if process.is_alive():
            process.kill()
            done += 1
        elif process.exitcode == 0:  # trained to the end: from the start again
            assert_same_run(tmp_path / "run", undisturbed)
            shutil.rmtree(tmp_path / "run")
        process.join()
    train_to_the_end(dance_root, tmp_path / "run")
    assert_same_run(tmp_path / "run", undisturbed)
    assert not list((tmp_path / "run").glob("previous-*"))


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_in_mid_epoch_and_the_run_goes_on(
    dance_root, undisturbed, tmp_path, signum, code
):
    flags = f"--DR {dance_root} --save_root {tmp_path / 'run'} {RUN} --save_every_minutes 60"
    output = tmp_path / "output"
    process = start_training(flags, output)
    wait_for_output(output, "chosen by")
    time.sleep(0.3)
    os.kill(process.pid, signum)
    process.join(60)
    assert process.exitcode == code, output.read_text()
    assert "goes on from there" in output.read_text()
    assert (tmp_path / "run" / "last.ckpt").exists()
    assert "going on from" in train_to_the_end(dance_root, tmp_path / "run")
    assert_same_run(tmp_path / "run", undisturbed)


@pytest.mark.parametrize("stop_after", [1, 4, 8, 11])
def test_stopping_after_any_step_changes_nothing(
    dance_root, undisturbed, tmp_path, monkeypatch, stop_after
):
    """Exactly there, in this process: after the first step, around the ends of epochs."""
    import sys

    import Trainer
    from engine.training.run import Run

    argv = f"Trainer.py --DR {dance_root} --save_root {tmp_path} {RUN}".split()
    monkeypatch.setattr(sys, "argv", argv)
    step = Run.train_step

    def stopping(self, *arguments):
        metrics = step(self, *arguments)
        if self.step == stop_after:
            os.kill(os.getpid(), signal.SIGTERM)
        return metrics

    with monkeypatch.context() as patch:
        patch.setattr(Run, "train_step", stopping)
        with pytest.raises(SystemExit) as ended:
            Trainer.main()
    assert ended.value.code == 143
    assert checkpoint.load(tmp_path / "last.ckpt")["step"] == stop_after
    Trainer.main()
    assert_same_run(tmp_path, undisturbed)


def test_an_epoch_that_is_not_validated_is_finished_too(dance_root, tmp_path, monkeypatch):
    import sys

    import Trainer
    from engine.training.run import Run

    argv = f"Trainer.py --DR {dance_root} --save_root {tmp_path} {RUN} --per_val 100".split()
    monkeypatch.setattr(sys, "argv", argv)
    step = Run.train_step

    def stopping(self, *arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        return step(self, *arguments)

    monkeypatch.setattr(Run, "train_step", stopping)
    with pytest.raises(SystemExit):
        Trainer.main()
    content = checkpoint.load(tmp_path / "last.ckpt")
    assert content["step"] == content["epoch_metrics"]["batches"] == 1
    assert content["last_epoch"] == -1


def test_a_second_signal_ends_at_once_with_nothing_torn(dance_root, tmp_path):
    flags = f"--DR {dance_root} --save_root {tmp_path / 'run'} {RUN} --num_epoch 1000"
    output = tmp_path / "output"
    process = start_training(f"{flags} {SAVING_ALL_THE_TIME}", output)
    wait_for_output(output, "epoch 1/999")
    os.kill(process.pid, signal.SIGTERM)
    os.kill(process.pid, signal.SIGINT)
    process.join(60)
    assert process.exitcode in (143, 130)
    for path in (tmp_path / "run").glob("*.ckpt"):
        checkpoint.load(path)


# --------------------------------------------------- the same command, and others


def test_a_finished_run_says_so_and_is_left_alone(dance_root, undisturbed):
    before = {path: path.stat().st_mtime_ns for path in undisturbed.iterdir()}
    said = train_to_the_end(dance_root, undisturbed)
    assert "trained to its end" in said
    assert "--num_epoch" in said
    assert "--resume never" in said
    assert before == {path: path.stat().st_mtime_ns for path in undisturbed.iterdir()}


def test_more_epochs_train_on(dance_root, undisturbed, tmp_path):
    folder = shutil.copytree(undisturbed, tmp_path / "run")
    said = train_to_the_end(dance_root, folder, "--num_epoch 6")
    assert "going on from" in said
    assert [row["epoch"] for row in rows_of(folder)] == ["0", "1", "2", "3", "4", "5"]
    assert rows_of(folder)[:5] == [r | {} for r in rows_of(undisturbed)]
    assert not list(folder.glob("previous-*"))


def test_resume_never_begins_anew_and_loses_nothing(dance_root, undisturbed, tmp_path):
    folder = shutil.copytree(undisturbed, tmp_path / "run")
    train_to_the_end(dance_root, folder, "--resume never")
    (aside,) = folder.glob("previous-*")
    assert_same_run(aside, undisturbed)
    assert_same_run(folder, undisturbed)


def test_other_data_under_the_same_settings_is_another_run(dance_root, undisturbed, tmp_path):
    folder = shutil.copytree(undisturbed, tmp_path / "run")
    root = shutil.copytree(dance_root, tmp_path / "data")
    for split in ("img", "label"):
        (root / "train" / f"train_{split}" / "59.png").unlink()
    said = train_to_the_end(root, folder, "--num_epoch 1")
    assert "data:" in said
    assert list(folder.glob("previous-*"))


# --------------------------------------------------------- disks, locks, damage


def test_a_full_disk_leaves_the_earlier_checkpoint_and_the_next_start_goes_on(
    dance_root, undisturbed, tmp_path
):
    folder = tmp_path / "run"
    flags = f"--DR {dance_root} --save_root {folder} {RUN}"
    output = tmp_path / "output"
    process = start_training(flags, output)
    wait_for_output(output, "epoch 1/4")
    process.terminate()
    process.join(60)
    before = (folder / "last.ckpt").read_bytes()

    code, said = train(flags, output, largest_file=20_000)
    assert code == 2
    assert "checkpoint not saved" in said
    assert "the last checkpoint could not be written" in said
    assert "Traceback" not in said
    assert (folder / "last.ckpt").read_bytes() == before

    train_to_the_end(dance_root, tmp_path / "run")
    assert_same_run(folder, undisturbed)


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_named(dance_root, tmp_path):
    (tmp_path / "run").mkdir(mode=0o500)
    flags = f"--DR {dance_root} --save_root {tmp_path / 'run'} {TINY}"
    code, said = train(flags, tmp_path / "out")
    assert code == 2
    assert "--save_root" in said


def test_a_second_run_in_the_folder_is_refused(dance_root, tmp_path):
    from filelock import FileLock

    folder = tmp_path / "run"
    folder.mkdir()
    with FileLock(folder / ".lock"):
        code, said = train(f"--DR {dance_root} --save_root {folder} {TINY}", tmp_path / "out")
    assert code == 2
    assert "another run" in said
    assert [path.name for path in folder.iterdir()] in ([], [".lock"])


def damage(path: Path) -> None:
    """Flip one byte in the middle of a weight, where torch itself would not notice."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_damaged_checkpoint_gives_way_to_the_one_before(dance_root, undisturbed, tmp_path):
    folder = shutil.copytree(undisturbed, tmp_path / "run")
    damage(folder / "last.ckpt")
    torch.load(folder / "last.ckpt", weights_only=True)  # torch takes it as it is
    said = train_to_the_end(dance_root, folder)
    assert "checksum" in said
    assert "taking last-1.ckpt" in said
    assert_same_run(folder, undisturbed)


def test_leftovers_of_a_killed_process_are_removed(dance_root, undisturbed, tmp_path):
    folder = shutil.copytree(undisturbed, tmp_path / "run")
    (folder / ".last.ckpt.1-1.tmp").write_bytes(b"half")
    train_to_the_end(dance_root, folder, "--num_epoch 6")
    assert not list(folder.glob(".*.tmp"))


def test_resume_points_are_kept_and_pruned(dance_root, tmp_path):
    folder = tmp_path / "run"
    train_to_the_end(dance_root, folder, "--num_epoch 4 --keep_checkpoints 3")
    steps = [checkpoint.load(folder / f"last{age}.ckpt")["step"] for age in ("", "-1", "-2")]
    assert steps == sorted(steps, reverse=True)
    assert len(set(steps)) == 3
    assert not (folder / "last-3.ckpt").exists()
