"""Known-bad flags, folders and machines: exit code 2, what is wrong and the way out, no traces.

Pictures, tables and checkpoints have files of their own. `refused` (conftest.py) checks that
nothing was left half-written.
"""

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

import Tester
import Trainer
from tests.support.hostile import call, rollout_flags, trainer_flags

# ----------------------------------------------------------------------- flags


@pytest.mark.parametrize(
    ("flag", "value", "says"),
    [
        ("--batch_size", "0", "at least 1"),
        ("--batch_size", "two", "not a number"),
        ("--batch_size", "500", "lower --batch_size"),
        ("--batch_size", "9" * 5000, "not a number"),
        ("--num_epoch", "0", "at least 1"),
        ("--num_epoch", "1e3", "not a number"),
        ("--num_epoch", "99999999999999", "at most 1e+09"),
        ("--minutes", "0", "more than 0"),
        ("--lr", "-1", "more than 0"),
        ("--lr", "nan", "more than 0"),
        ("--lr", "1e400", "at most 1e+30"),
        ("--lr_gamma", "2", "at most 1"),
        ("--lr_milestones", "x", "not a number"),
        ("--weight_decay", "-0.1", "at least 0"),
        ("--max_norm", "0", "more than 0"),
        ("--tfr", "1.5", "at most 1"),
        ("--partial", "0", "more than 0"),
        ("--kl_anneal_ratio", "0", "more than 0"),
        ("--kl_anneal_period", "0", "at least 1"),
        ("--kl_anneal_stop", "inf", "at most 1e+30"),
        ("--kl_anneal_type", "Sometimes", "Cyclical, Monotonic or None"),
        ("--train_vi_len", "1", "at least 2"),
        ("--train_vi_len", "9" * 30, "at most 1e+09"),
        ("--F_dim", "4", "at least 8"),
        ("--D_out_dim", "100000", "at most 4096"),
        ("--frame_H", "2", "at least 11"),
        ("--frame_W", "1000000", "at most 4096"),
        ("--patch_size", "3", "invalid choice"),
        ("--num_workers", "100000", "at most 256"),
        ("--keep_checkpoints", "1000000000", "at most 1000"),
        ("--holdout", "9", "A:B"),
        ("--holdout", "9:3", "A < B"),
        ("--holdout", f"0:{'9' * 30}", "nine digits"),
        ("--holdout", "900:950", "holds 0 of the training frames"),
        ("--seed", "-1", "at least 0"),
        ("--optim", "SGD", "invalid choice"),
        ("--preset", "fast", "invalid choice"),
        ("--precision", "fp16", "invalid choice"),
        ("--resume", "maybe", "invalid choice"),
        ("--device", "tpu9", "--device tpu9"),
        ("--device", "meta", "--device auto"),
        ("--ckpt_path", "", "an empty path"),
        ("--cache_dir", "", "an empty path"),
        ("--nonsense", "1", "unrecognized"),
    ],
)
def test_a_flag_out_of_range_is_named(refused, small_root, tmp_path, flag, value, says):
    flags = trainer_flags(small_root, "--save_root", tmp_path / "out", flag, value)
    message = refused(Trainer, *flags)
    assert flag in message
    assert says in message


@pytest.mark.parametrize(
    ("size", "patch", "says"), [(33, 2, "multiple"), (12, 4, "4 times"), (17, 4, "multiple")]
)
def test_a_frame_size_that_patches_do_not_divide(refused, root, size, patch, says):
    flags = trainer_flags(root, "--frame_H", size, "--patch_size", patch)
    message = refused(Trainer, *flags)
    assert f"--frame_H {size}" in message
    assert says in message


def test_missing_flags_are_named(refused, root):
    assert "--DR" in refused(Trainer)
    assert "--ckpt_path" in refused(Trainer, *trainer_flags(root, "--test"))
    assert "--ckpt_path" in refused(Tester, "--DR", root)
    both = ("--ckpt_path", root, "--warm_start", root)
    assert "give one of them" in refused(Trainer, *trainer_flags(root, *both))
    both = ("--kl_anneal_cycle", 3, "--kl_anneal_period", 4)
    assert "give one of them" in refused(Trainer, *trainer_flags(root, *both))


def test_cuda_where_there_is_none(refused, root, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "--device cuda" in refused(Trainer, *trainer_flags(root, "--device", "cuda"))


def test_a_script_as_a_process_prints_one_line_and_exits_2(tmp_path):
    script = Path(Trainer.__file__)
    command = [sys.executable, script, "--DR", tmp_path / "nowhere", "--save_root", tmp_path / "o"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
    assert "--DR" in done.stderr
    assert not (tmp_path / "o").exists()


# ------------------------------------------------------------------ the dataset


def rename(path: Path, name: str | bytes) -> None:
    os.rename(path, os.path.join(os.fsencode(path.parent), os.fsencode(name)))


DATASETS = {  # what is done to the dataset, and what the Trainer then says
    "no dataset": (shutil.rmtree, "--DR"),
    "a file": (lambda r: (shutil.rmtree(r), r.write_text("me")), "--DR"),
    "no train_img": (lambda r: shutil.rmtree(r / "train/train_img"), "train_img: check --DR"),
    "empty val_img": (lambda r: [p.unlink() for p in (r / "val/val_img").iterdir()], "val_img"),
    "train_img is a file": (
        lambda r: (shutil.rmtree(r / "train/train_img"), (r / "train/train_img").write_text("")),
        "train_img: check --DR",
    ),
    "train_img is a link to itself": (
        lambda r: (
            shutil.rmtree(r / "train/train_img"),
            (r / "train/train_img").symlink_to(r / "train/train_img"),
        ),
        "train_img: check --DR",
    ),
    "a frame without its pose": (
        lambda r: (r / "train/train_label/7.png").unlink(),
        "train_img/7.png has no pose image",
    ),
    "a word": (lambda r: rename(r / "train/train_img/7.png", "seven.png"), "seven.png"),
    "a number too long": (
        lambda r: rename(r / "train/train_img/7.png", f"{'9' * 200}.png"),
        "not a frame number",
    ),
    "a negative number": (lambda r: rename(r / "val/val_img/3.png", "-3.png"), "-3.png"),
    "a formula": (lambda r: rename(r / "val/val_img/3.png", "=1+1.png"), "=1+1.png"),
    "not UTF-8": (lambda r: rename(r / "val/val_img/3.png", b"3\xff.png"), "3\\udcff.png"),
    "two lines": (lambda r: rename(r / "val/val_img/3.png", "3\nerror.png"), "3\\nerror.png"),
    "an escape sequence": (
        lambda r: rename(r / "val/val_img/3.png", "3\x1b[2J.png"),
        "3\\x1b[2J.png",
    ),
    "a number twice": (
        lambda r: shutil.copy(r / "val/val_img/3.png", r / "val/val_img/frame03.png"),
        "same number",
    ),
    "no two frames in a row": (
        lambda r: [(r / "val/val_img" / f"{n}.png").unlink() for n in (1, 3)],
        "no two frames",
    ),
}


@pytest.mark.parametrize("case", DATASETS)
def test_a_spoiled_dataset_is_named(refused, root, case):
    spoil, says = DATASETS[case]
    spoil(root)
    assert says in refused(Trainer, *trainer_flags(root))


TEST_SETS = {  # likewise for the Tester
    "no test": (lambda r: shutil.rmtree(r / "test"), "test_label: check --DR"),
    "no sequence": (lambda r: shutil.rmtree(r / "test/test_label/0"), "no sequence folders"),
    "a word": (lambda r: (r / "test/test_label/one").mkdir(), "one: the name of a sequence"),
    "a number too long": (lambda r: (r / "test/test_label" / ("9" * 250)).mkdir(), "not a number"),
    "a number twice": (
        lambda r: shutil.copytree(r / "test/test_label/0", r / "test/test_label/00"),
        "same number",
    ),
    "no first frame": (lambda r: (r / "test/test_img/0/0.png").unlink(), "test_img/0"),
    "one pose": (
        lambda r: [(r / f"test/test_label/0/{n}.png").unlink() for n in range(1, 6)],
        "two pose images",
    ),
    "a true frame missing": (lambda r: (r / "test/test_gt/0/5.png").unlink(), "5.png to score"),
}


@pytest.mark.parametrize("case", TEST_SETS)
def test_a_spoiled_test_set_is_named(refused, root, ours, case):
    spoil, says = TEST_SETS[case]
    spoil(root)
    assert says in refused(Tester, *rollout_flags(root, ours))


def test_true_frames_and_holdouts_that_are_not_there(refused, root, ours, tmp_path):
    assert "--GT" in refused(Tester, *rollout_flags(root, ours, "--GT", tmp_path / "nowhere"))
    flags = rollout_flags(root, ours, "--split", "val", "--holdout", "900:950")
    assert "--holdout 900:950" in refused(Tester, *flags)


def test_a_folder_whose_name_is_not_text_trains_and_goes_on(root, tmp_path):
    """Names are bytes: what the terminal cannot show is spelled out, and what is stored loads."""
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/=\xff\n\x1b[2J"))
    root.rename(odd)
    for epochs in ("1", "2"):
        flags = trainer_flags(odd, "--save_root", odd / "out", "--num_epoch", epochs)
        code, said = call(Trainer, *flags)
        assert code == 0, said
    assert "going on from" in said
    code, said = call(Tester, *rollout_flags(odd, odd / "out", "--save_root", odd / "results"))
    assert code == 0, said
    assert "=" not in (odd / "results/scores.csv").read_text()


# ------------------------------------------------------------------ the machine


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 4.00 TiB for an array"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    ],
)
@pytest.mark.parametrize(
    "where", ["engine.training.run.Run.train_step", "data.store.shards.read_frame"]
)
def test_out_of_memory_names_the_flags_that_help(root, monkeypatch, error, where):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(where, fail)
    code, said = call(Trainer, *trainer_flags(root))
    assert code == 2
    assert "out of memory" in said
    assert all(flag in said for flag in ("--batch_size", "--F_dim", "--precision", "--frame_H"))
    assert "Traceback" not in said


def test_a_reader_that_goes_away_does_not_end_the_tester(root, ours):
    command = [sys.executable, Path(Tester.__file__), *rollout_flags(root, ours)]
    done = subprocess.Popen(
        [*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
    )
    done.stdout.close()  # as `head` does after its line
    errors = done.stderr.read().decode()
    done.wait(120)
    assert done.returncode == 0, errors
    assert "Traceback" not in errors
    assert "BrokenPipe" not in errors
    assert (root.parent / "out" / "submission.csv").exists()


def test_a_decoding_thread_that_dies_is_reported(root, monkeypatch):
    def die(*_):
        raise SystemError("decoder gone")

    monkeypatch.setattr("data.store.shards.read_frame", die)
    threads = threading.active_count()
    with pytest.raises(SystemError, match="decoder gone"):
        call(Trainer, *trainer_flags(root))
    assert threading.active_count() == threads
