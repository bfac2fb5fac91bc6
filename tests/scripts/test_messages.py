"""Messages that name the way out: the folder, flag or checkpoint that was meant is at hand."""

import errno
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

import Reporter
import Tester
import Trainer
from core.errors import why
from core.files import warn_on_write_error
from engine.checkpoints import checkpoint
from engine.checkpoints.writer import Saver
from tests.support.hostile import SMALL, call, rollout_flags, trainer_flags


def robot_folder(root: Path) -> Path:
    for split in ("train", "validate"):
        (root / split / "traj_0_to_255" / "0").mkdir(parents=True)
    return root


# ------------------------------------------------------------------------ data


@pytest.mark.parametrize("wrong", ["train", "train/train_img", "..", "nowhere"])
def test_a_dataset_one_level_too_high_or_low_is_named(refused, root, wrong):
    place = (root / wrong).resolve()
    said = refused(Trainer, "--DR", place, "--save_root", root.parent / "out", *SMALL)
    assert f"--DR {place}: " in said
    assert f"did you mean --DR {root}?" in said


def test_the_tester_names_it_too(refused, root, ours):
    said = refused(Tester, *rollout_flags(root / "test", ours))
    assert f"did you mean --DR {root}?" in said


def test_with_no_dataset_near_nothing_is_guessed(refused, tmp_path):
    (tmp_path / "empty").mkdir()
    said = refused(Trainer, "--DR", tmp_path / "empty", "--save_root", tmp_path / "out", *SMALL)
    assert "no folder" in said
    assert "did you mean" not in said


def test_robot_data_without_its_model_is_told(refused, tmp_path):
    place = robot_folder(tmp_path / "robot")
    said = refused(Trainer, "--DR", place, "--save_root", tmp_path / "out")
    assert f"--DR {place}: data in the robot's layout, which is for --model svg" in said


def test_dance_data_with_the_robots_model_is_told(refused, root):
    said = refused(Trainer, "--DR", root, "--save_root", root.parent / "out", "--model", "svg")
    assert "data in the dance's layout, which is for --model cvae" in said


# ----------------------------------------------------------------------- flags


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("--kl_aneal_type", "--kl_anneal_type"),
        ("--batchsize=4", "--batch_size"),
        ("--train_vi_length", "--train_vi_len"),
    ],
)
def test_a_misspelled_flag_is_named(refused, root, typed, meant):
    assert f"did you mean {meant}?" in refused(Trainer, *trainer_flags(root, typed, "4"))


def test_a_flag_like_no_other_is_only_refused(refused, root):
    said = refused(Trainer, *trainer_flags(root, "--xyzzy", "4"))
    assert "unrecognized arguments: --xyzzy 4" in said
    assert "did you mean" not in said


# ----------------------------------------------------------------- checkpoints


def test_a_missing_checkpoint_lists_those_that_are_there(refused, root, small_run):
    said = refused(Tester, *rollout_flags(root, small_run / "epoch=7.ckpt"))
    assert f"error: --ckpt_path {small_run / 'epoch=7.ckpt'}: no such checkpoint" in said
    assert f"in {small_run} there are best.ckpt, epoch=0.ckpt" in said
    said = refused(Tester, *rollout_flags(root, root.parent / "nowhere" / "x.ckpt"))
    assert f"there is no folder {root.parent / 'nowhere'}" in said


def test_a_folder_of_runs_names_them(refused, root, small_run, tmp_path):
    shutil.copytree(small_run, tmp_path / "runs" / "first")
    said = refused(Tester, *rollout_flags(root, tmp_path / "runs"))
    assert "no best.ckpt or epoch=N.ckpt in this folder; runs are in first" in said


@pytest.mark.parametrize("wrong", ["data", "NOPE"])
def test_the_runs_beside_what_is_none_are_named(refused, root, small_run, wrong):
    shutil.copytree(small_run, root.parent / "run")
    said = refused(Tester, *rollout_flags(root, root.parent / wrong))
    assert f"error: --ckpt_path {root.parent / wrong}: no " in said
    assert f"; runs in {root.parent}: run" in said


def test_a_missing_checkpoint_names_the_flag_that_was_given(refused, root):
    flags = ("--warm_start", root.parent / "NOPE")
    assert "error: --warm_start " in refused(Trainer, *trainer_flags(root, *flags))


def test_a_test_without_truth_is_no_fault(root, small_run, tmp_path, own_cache):
    shutil.rmtree(root / "test/test_gt")
    code, said = call(Tester, *rollout_flags(root, small_run))
    assert code == 0, said
    assert "1 sequence as GIFs" in said
    assert "without scores, which need true frames" in said


@pytest.mark.parametrize("left", ["last.ckpt", "epoch=0.ckpt"])
def test_without_a_best_checkpoint_the_newest_is_taken_and_named(small_run, tmp_path, capsys, left):
    shutil.copy(small_run / left, tmp_path / left)
    found = checkpoint.find(str(tmp_path), prefer=checkpoint.BEST)
    assert found.path == tmp_path / left
    assert capsys.readouterr().err == f"no best.ckpt in {tmp_path} yet; taking {left} instead\n"


def test_going_on_says_how_to_begin_anew(small_run, small_root, tmp_path):
    run = shutil.copytree(small_run, tmp_path / "run")
    flags = ("--replay", "--num_epoch", "3", "--batch_size", "1")
    code, said = call(Trainer, "--DR", small_root, "--save_root", run, *SMALL, *flags)
    assert code == 0, said
    assert "(to begin anew: --resume never)" in said


# ---------------------------------------------------------- disks and memory


def test_a_full_disk_promises_only_what_is_there(tmp_path, monkeypatch, capsys):
    def full(path, content, keep=0):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(checkpoint, "save", full)
    (tmp_path / "last.ckpt").write_bytes(b"earlier")
    saver = Saver(tmp_path, 2, 60)
    saver.save({"epoch=0.ckpt": {}, "last.ckpt": {}})
    saver.close()
    said = capsys.readouterr().err
    assert "epoch=0.ckpt: No space left on device" in said
    assert "the earlier last.ckpt is whole" in said
    assert "the earlier epoch=0.ckpt" not in said


def test_an_error_without_a_file_or_number_is_said_as_it_is(capsys):
    assert why(OSError("Not enough free space to write 393216 bytes")) == (
        "Not enough free space to write 393216 bytes"
    )
    assert why(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/x")).endswith("(/x)")
    assert why(OSError()) == "OSError"
    with warn_on_write_error("val.gif"):
        raise OSError("Not enough free space to write 9 bytes")
    assert "None" not in capsys.readouterr().err


def test_a_rollout_that_claims_terabytes_is_no_matter_of_the_batch_size(refused, tmp_path):
    header = np.lib.format
    with (tmp_path / "clip0.npy").open("wb") as file:
        shape = (10**9, 100, 330, 3)
        header.write_array_header_1_0(
            file, {"descr": "|u1", "fortran_order": False, "shape": shape}
        )
    description = np.frombuffer(
        b'{"format": 1, "name": "0", "given": 1, "about": {}, "clips": ["pose"], "scores": {}}',
        np.uint8,
    )
    np.save(tmp_path / "description.npy", description)
    results = tmp_path / "results"
    results.mkdir()
    import zipfile

    with zipfile.ZipFile(results / "rollout_seq0.npz", "w") as archive:
        for name in ("clip0.npy", "description.npy"):
            archive.write(tmp_path / name, name)
    said = refused(Reporter, results, "--out", tmp_path / "out")
    assert f"{results / 'rollout_seq0.npz'}: not a rollout of the Tester" in said
    assert "--batch_size" not in said
