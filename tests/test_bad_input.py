"""Known-bad input: a message that names the file or flag, exit code 2, nothing half-written."""

import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

import Tester
import Trainer
from engine import checkpoint, config
from engine.device import Compute
from engine.run import Run
from modules.vae import CVAE, CVAEConfig

TINY = ["--F_dim", "8", "--L_dim", "2", "--N_dim", "4", "--D_out_dim", "8", "--device", "cpu"]


@pytest.fixture
def root(dance_root, tmp_path) -> Path:
    """A copy of the drawn data to spoil."""
    return Path(shutil.copytree(dance_root, tmp_path / "data"))


@pytest.fixture
def refused(monkeypatch, capsys, tmp_path):
    """Return a function that runs a script, which must refuse, and returns its message."""

    def call(script, *flags: str) -> str:
        monkeypatch.setattr(sys, "argv", [f"{script.__name__}.py", *map(str, flags)])
        with pytest.raises(SystemExit) as stopped:
            script.main()
        message = capsys.readouterr().err
        assert stopped.value.code == 2, message
        assert "Traceback" not in message
        assert not list(tmp_path.glob("out/*")), "something was written"
        return message

    return call


def trainer_flags(root: Path, *flags) -> list:
    out = root.parent / "out"
    small = ["--train_vi_len", "4", "--batch_size", "2"]
    return ["--DR", root, "--save_root", out, *TINY, *small, *flags]


# ----------------------------------------------------------------------- flags


@pytest.mark.parametrize(
    ("flag", "value", "says"),
    [
        ("--batch_size", "0", "at least 1"),
        ("--batch_size", "two", "not a number"),
        ("--lr", "-1", "more than 0"),
        ("--lr", "nan", "more than 0"),
        ("--tfr", "1.5", "at most 1"),
        ("--partial", "0", "more than 0"),
        ("--kl_anneal_ratio", "0", "more than 0"),
        ("--kl_anneal_type", "Sometimes", "Cyclical, Monotonic or None"),
        ("--num_epoch", "0", "at least 1"),
        ("--train_vi_len", "1", "at least 2"),
        ("--F_dim", "4", "at least 8"),
        ("--frame_H", "2", "at least 11"),
        ("--holdout", "9", "A:B"),
        ("--holdout", "9:3", "A < B"),
        ("--seed", "-1", "at least 0"),
        ("--optim", "SGD", "invalid choice"),
        ("--preset", "fast", "invalid choice"),
        ("--nonsense", "1", "unrecognized"),
    ],
)
def test_a_flag_out_of_range_is_named(refused, root, flag, value, says):
    message = refused(Trainer, *trainer_flags(root, flag, value))
    assert flag in message
    assert says in message


def test_a_script_as_a_process_prints_one_line_and_exits_2(tmp_path):
    script = Path(Trainer.__file__)
    command = [sys.executable, script, "--DR", tmp_path / "nowhere", "--save_root", tmp_path / "o"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
    assert "--DR" in done.stderr
    assert not (tmp_path / "o").exists()


def test_missing_flags_are_named(refused, root):
    assert "--DR" in refused(Trainer)
    assert "--ckpt_path" in refused(Trainer, *trainer_flags(root, "--test"))
    assert "--ckpt_path" in refused(Tester, "--DR", root)


def test_cuda_where_there_is_none(refused, root, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "--device cuda" in refused(Trainer, *trainer_flags(root, "--device", "cuda"))
    assert "--device tpu9" in refused(Trainer, *trainer_flags(root, "--device", "tpu9"))


def test_more_batch_than_windows(refused, root):
    assert "--batch_size 500" in refused(Trainer, *trainer_flags(root, "--batch_size", "500"))


def test_a_held_out_piece_that_is_not_there(refused, root, ours):
    assert "--holdout 900:950" in refused(Trainer, *trainer_flags(root, "--holdout", "900:950"))
    flags = rollout_flags(root, ours, "--split", "val", "--holdout", "900:950")
    assert "--holdout 900:950" in refused(Tester, *flags)


def test_a_frame_size_that_patches_do_not_divide(refused, root):
    assert "--frame_H 33" in refused(Trainer, *trainer_flags(root, "--frame_H", 33, "--patch", 2))
    assert "--frame_H 12" in refused(Trainer, *trainer_flags(root, "--frame_H", 12, "--patch", 4))


def test_an_output_folder_that_is_a_file(refused, root, ours):
    (root.parent / "file").write_text("mine")
    flags = ("--DR", root, "--save_root", root.parent / "file")
    assert "--save_root" in refused(Tester, *flags, "--ckpt_path", ours)
    assert "--save_root" in refused(Trainer, *trainer_flags(root), *flags)
    assert (root.parent / "file").read_text() == "mine"


# ------------------------------------------------------------------------ data


def test_no_such_dataset(refused, tmp_path):
    assert "--DR" in refused(Trainer, *trainer_flags(tmp_path / "nowhere"))
    flags = ("--DR", tmp_path / "nowhere", "--ckpt_path", tmp_path / "no.ckpt")
    assert "no.ckpt" in refused(Tester, *flags)


@pytest.mark.parametrize("split", ["train", "val"])
def test_an_empty_split(refused, root, split):
    shutil.rmtree(root / split / f"{split}_img")
    (root / split / f"{split}_img").mkdir()
    assert f"{split}_img" in refused(Trainer, *trainer_flags(root))


def test_a_frame_without_its_pose_image(refused, root):
    (root / "train/train_label/7.png").unlink()
    message = refused(Trainer, *trainer_flags(root))
    assert str(root / "train/train_img/7.png") in message
    assert "pose" in message


@pytest.mark.parametrize("spoil", ["truncated", "text", "empty", "gif"])
def test_an_unreadable_picture_is_named(refused, root, spoil):
    path = root / "train/train_img/9.png"
    data = path.read_bytes()
    if spoil == "gif":
        Image.new("RGB", (8, 8)).save(path, format="GIF")
    else:
        path.write_bytes(
            {"truncated": data[: len(data) // 2], "text": b"hello", "empty": b""}[spoil]
        )
    assert str(path) in refused(Trainer, *trainer_flags(root))


def test_names_that_are_not_numbers(refused, root):
    (root / "train/train_img/7.png").rename(root / "train/train_img/seven.png")
    assert "seven.png" in refused(Trainer, *trainer_flags(root))


def test_a_number_twice(refused, root):
    shutil.copy(root / "val/val_img/3.png", root / "val/val_img/frame03.png")
    assert "frame03.png" in refused(Trainer, *trainer_flags(root))


def test_cuts_that_are_not_numbers(refused, root):
    (root / "train/cuts.txt").write_text("ten\n")
    assert "cuts.txt" in refused(Trainer, *trainer_flags(root))


def test_a_missing_true_frame_of_the_test(refused, root, ours):
    (root / "test/test_gt/0/5.png").unlink()
    message = refused(Tester, "--DR", root, "--save_root", root.parent / "out", "--ckpt_path", ours)
    assert "5.png" in message


# ----------------------------------------------------------------- checkpoints


@pytest.fixture
def ours(tmp_path) -> Path:
    """A checkpoint of a tiny model."""
    names = dict(zip(TINY[:8:2], map(int, TINY[1:8:2])))
    model_config = {name.strip("-"): value for name, value in names.items()}
    settings = config.make_settings(config.trainer_parser(), model_config)
    run = Run(CVAE(CVAEConfig.from_settings(settings)), settings, Compute(torch.device("cpu")))
    run.epoch = 1
    checkpoint.save(tmp_path / "ours.ckpt", run.state())
    return tmp_path / "ours.ckpt"


def rollout_flags(root: Path, path: Path, *flags) -> list:
    return ["--DR", root, "--save_root", root.parent / "out", "--ckpt_path", path, *flags]


def test_a_missing_checkpoint(refused, root, tmp_path):
    assert "none.ckpt" in refused(Tester, *rollout_flags(root, tmp_path / "none.ckpt"))
    (tmp_path / "empty").mkdir()
    assert "epoch=N.ckpt" in refused(Tester, *rollout_flags(root, tmp_path / "empty"))


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.99])
def test_a_truncated_checkpoint(refused, root, ours, keep):
    data = ours.read_bytes()
    ours.write_bytes(data[: int(len(data) * keep)])
    assert str(ours) in refused(Tester, *rollout_flags(root, ours))
    assert str(ours) in refused(Trainer, *trainer_flags(root, "--ckpt_path", ours))


def test_not_a_checkpoint(refused, root, tmp_path):
    path = tmp_path / "picture.ckpt"
    Image.new("RGB", (4, 4)).save(path, format="PNG")
    assert str(path) in refused(Tester, *rollout_flags(root, path))
    for text in ("epoch,loss\n0,1.0\n", "this is no checkpoint", "author: me"):
        path.write_text(text)
        assert str(path) in refused(Tester, *rollout_flags(root, path))
    torch.save({"weights": torch.zeros(3)}, path)
    assert "state_dict" in refused(Tester, *rollout_flags(root, path))
    torch.save({"state_dict": {"layer.weight": torch.zeros(3)}}, path)
    assert str(path) in refused(Tester, *rollout_flags(root, path))


def test_a_checkpoint_of_other_widths(refused, root, ours):
    message = refused(Tester, *rollout_flags(root, ours, "--F_dim", "16"))
    assert "--F_dim 16" in message
    assert "F_dim = 8" in message
    content = checkpoint.load(ours)
    del content["state_dict"]["Generator.7.bias"]
    checkpoint.save(ours, content)
    assert "Generator.7.bias" in refused(Tester, *rollout_flags(root, ours))


def test_a_checkpoint_that_runs_code_is_refused_unrun(refused, root, tmp_path):
    canary = tmp_path / "canary"

    class Malicious:
        def __reduce__(self):
            return Path.touch, (canary,)

    path = tmp_path / "evil.ckpt"
    torch.save({"state_dict": Malicious()}, path)
    assert str(path) in refused(Tester, *rollout_flags(root, path))
    path.write_bytes(pickle.dumps({"state_dict": Malicious()}))
    assert str(path) in refused(Tester, *rollout_flags(root, path))
    assert not canary.exists()
    pickle.loads(path.read_bytes())  # the canary works: freely unpickled, the file does run
    assert canary.exists()
