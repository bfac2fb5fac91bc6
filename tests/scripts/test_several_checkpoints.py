"""Several checkpoints tested as one, and --tta, as a user runs them; and what is refused."""

import json
import shutil

import pytest
from PIL import Image

import Player
import Tester
import Trainer
from tests.support.hostile import SMALL, call
from tests.support.playing import PRETRAINED


def tested(root, out, *flags) -> dict[str, bytes]:
    """Run the Tester; return its pictures by name."""
    code, said = call(Tester, "--DR", root, "--save_root", out, "--no_report", *flags)
    assert code == 0, said
    return {file.name: file.read_bytes() for file in out.glob("pred_seq*.gif")}


@pytest.fixture(scope="module")
def other_run(small_root, tmp_path_factory):
    """A run of another seed and other widths."""
    folder = tmp_path_factory.mktemp("other") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        flags = ["--seed", "1", "--F_dim", "10", "--num_epoch", "1", "--batch_size", "1"]
        flags += ["--lr", "0.01", "--holdout", "2:5"]
        code, said = call(Trainer, "--DR", small_root, "--save_root", folder, *SMALL, *flags)
    assert code == 0, said
    return folder


def test_the_mean_of_one_model_twice_is_that_model(small_root, small_run, tmp_path):
    mean = ["--latent", "mean", "--precision", "fp32"]
    alone = tested(small_root, tmp_path / "a", *mean, "--ckpt_path", small_run)
    twice = tested(small_root, tmp_path / "b", *mean, "--ckpt_path", small_run, small_run)
    assert alone == twice


def test_models_of_other_widths_are_averaged(small_root, small_run, other_run, tmp_path):
    both = tested(small_root, tmp_path / "ab", "--ckpt_path", small_run, other_run)
    assert both != tested(small_root, tmp_path / "a", "--ckpt_path", small_run)
    assert both != tested(small_root, tmp_path / "b", "--ckpt_path", other_run)
    source = json.loads((tmp_path / "ab/source.json").read_text())
    assert source["checkpoint"].count("best.ckpt") == 2
    code, said = call(
        Tester, "--DR", small_root, "--save_root", tmp_path / "ab", "--ckpt_path", small_run
    )
    assert code == 2
    assert "of another checkpoint" in said


def test_the_page_names_all_of_them(small_root, small_run, other_run, tmp_path):
    flags = ("--DR", small_root, "--save_root", tmp_path, "--ckpt_path", small_run, other_run)
    code, said = call(Tester, *flags)
    assert code == 0, said
    assert "run + run" in (tmp_path / "report.html").read_text()


def test_tta_predicts_otherwise_and_keeps_the_first_frame(small_root, small_run, tmp_path):
    alone = tested(small_root, tmp_path / "a", "--ckpt_path", small_run)
    views = tested(small_root, tmp_path / "b", "--ckpt_path", small_run, "--tta")
    both = tested(small_root, tmp_path / "c", "--ckpt_path", small_run, small_run, "--tta")
    assert alone != views
    assert len(both) == len(views)
    first = [Image.open(tmp_path / k / "pred_seq0.gif").convert("RGB") for k in "ab"]
    assert first[0].tobytes() == first[1].tobytes()


# ----------------------------------------------------------------------- refusals


@pytest.mark.parametrize("flag", ["--export_lab", "--export_safetensors"])
def test_an_export_is_of_one(refused, ours, tmp_path, flag):
    said = refused(Tester, "--ckpt_path", ours, ours, flag, tmp_path / "out.safetensors")
    assert f"{flag} writes one checkpoint" in said


@pytest.mark.parametrize("flag", ["--ckpt_path", "--model_dir"])
def test_training_goes_on_from_one(refused, root, ours, tmp_path, flag):
    said = refused(Trainer, "--DR", root, "--save_root", tmp_path / "out", flag, ours, ours)
    assert "training goes on from one; Tester.py takes several" in said


def test_one_is_played(refused, ours):
    assert "one is played" in refused(Player, "--ckpt_path", ours, ours)


def test_models_of_two_kinds_are_refused(refused, root, ours, tmp_path):
    flags = ("--DR", root, "--save_root", tmp_path / "out")
    said = refused(Tester, *flags, "--ckpt_path", ours, PRETRAINED / "robot.safetensors")
    assert "holds a --model cvae" in said
    assert "an average is of models of one kind" in said


def test_models_of_other_frames_are_refused(refused, root, ours, tmp_path):
    flags = ("--DR", root, "--save_root", tmp_path / "out")
    said = refused(Tester, *flags, "--ckpt_path", ours, PRETRAINED / "dance.safetensors")
    assert "has frame_H = 12" in said
    assert "frame_H = 32: models of other frames" in said


def test_what_one_was_trained_on_is_no_test_of_both(refused, root, ours, other_run, tmp_path):
    other = shutil.copytree(other_run, tmp_path / "other")
    flags = ("--DR", root, "--save_root", tmp_path / "out", "--split", "val")
    said = refused(Tester, *flags, "--ckpt_path", ours, other)
    assert "holdout = (2, 5): frames that one of them was trained on are no test" in said


def test_tta_needs_the_training_frames(refused, root, ours, tmp_path):
    shutil.rmtree(root / "train")
    flags = ("--DR", root, "--save_root", tmp_path / "out", "--tta")
    said = refused(Tester, *flags, "--ckpt_path", ours)
    assert "--tta needs train/" in said


def test_tta_is_not_for_the_robot(refused, root, tmp_path):
    flags = ("--DR", root, "--save_root", tmp_path / "out", "--tta")
    said = refused(Tester, *flags, "--ckpt_path", PRETRAINED / "robot.safetensors")
    assert "--tta is for --model cvae" in said
