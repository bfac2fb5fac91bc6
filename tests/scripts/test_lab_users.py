"""Checkpoints of the lab, and a lab user's own lines."""

import shutil
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from PIL import Image

import Tester
import Trainer
from engine.checkpoints import checkpoint
from tests.support.scripts import TINY, good, rows_of, run


@pytest.fixture
def lab_file(trained, tmp_path) -> Path:
    """A checkpoint as other implementations write it: model weights under `optimizer`."""
    weights = checkpoint.load(trained / "last.ckpt")["state_dict"]
    path = tmp_path / "epoch=20.ckpt"
    content = {"state_dict": weights, "optimizer": weights, "lr": 5e-4, "tfr": 0.3}
    torch.save(content | {"last_epoch": 20}, path)
    return path


def test_a_lab_checkpoint_is_rolled_out_and_its_activation_found(dance_root, lab_file, tmp_path):
    out = good(
        run("Tester.py", f"--DR {dance_root} --save_root {tmp_path / 'o'} --ckpt_path {lab_file}")
    )
    assert "judged by the first frame: " in out


def test_a_lab_checkpoint_is_continued_with_its_rates(dance_root, lab_file, tmp_path):
    """At the file's epoch the schedules have the file's values, and go on from there."""
    flags = f"--DR {dance_root} --save_root {tmp_path / 'o'} {TINY} --ckpt_path {lab_file}"
    good(run("Trainer.py", flags + " --num_epoch 22 --tfr_d_step 0.1 --lr_schedule constant"))
    (row,) = rows_of(tmp_path / "o")
    assert row["epoch"] == "21"
    assert float(row["lr"]) == pytest.approx(5e-4)
    assert float(row["tfr"]) == pytest.approx(0.2)


def test_the_export_holds_the_labs_entries_only(trained, tmp_path):
    path = tmp_path / "lab.ckpt"
    good(run("Tester.py", f"--ckpt_path {trained} --export_lab {path}"))
    content = torch.load(path, weights_only=True)
    assert list(content) == ["state_dict", "optimizer", "lr", "tfr", "last_epoch"]
    networks = {key.split(".")[0] for key in content["state_dict"]}
    assert networks == {
        "frame_transformation",
        "label_transformation",
        "Gaussian_Predictor",
        "Decoder_Fusion",
        "Generator",
    }


def test_the_trainer_finds_the_activation_of_a_lab_checkpoint(dance_root, lab_file, tmp_path):
    """A model that predicts without a sigmoid is validated, and trained on, without one."""
    root = shutil.copytree(dance_root, tmp_path / "night")
    for path in (root / "val/val_img").iterdir():
        Image.new("RGB", (64, 32)).save(path)
    content = torch.load(lab_file, weights_only=True)
    weights = content["state_dict"]
    weights["Generator.7.weight"].zero_()
    weights["Generator.7.bias"].zero_()  # black as it is, gray after a sigmoid
    torch.save(content, lab_file)
    flags = f"--DR {root} --save_root {tmp_path / 'o'} --ckpt_path {lab_file}"
    assert "first frame: none" in good(run("Trainer.py", flags + " --test"))
    assert "judged" not in good(run("Trainer.py", flags + " --test --output_activation clamp"))


def test_a_patched_model_is_not_exported_to_the_lab(dance_root, tmp_path):
    flags = f"--DR {dance_root} --save_root {tmp_path / 'r'} {TINY} --num_epoch 1 --patch_size 2"
    good(run("Trainer.py", flags))
    done = run("Tester.py", f"--ckpt_path {tmp_path / 'r'} --export_lab {tmp_path / 'x.ckpt'}")
    assert done.returncode == 2
    assert "--patch_size" in done.stderr
    assert not (tmp_path / "x.ckpt").exists()


def lab_namespace(dance_root: Path, save_root: Path, **others) -> Namespace:
    """The flags a lab user's own parser makes; none of ours."""
    flags = {
        "DR": str(dance_root),
        "save_root": str(save_root),
        "batch_size": 2,
        "lr": 0.001,
        "device": "cpu",
        "optim": "Adam",
        "gpu": 1,
        "test": False,
        "store_visualization": False,
        "num_workers": 1,
        "num_epoch": 1,
        "per_save": 1,
        "partial": 1.0,
        "train_vi_len": 4,
        "val_vi_len": 630,
        "frame_H": 32,
        "frame_W": 64,
        "F_dim": 8,
        "L_dim": 2,
        "N_dim": 4,
        "D_out_dim": 8,
        "tfr": 1.0,
        "tfr_sde": 10,
        "tfr_d_step": 0.1,
        "ckpt_path": None,
        "fast_train": False,
        "fast_partial": 0.4,
        "fast_train_epoch": 5,
        "kl_anneal_type": "Cyclical",
        "kl_anneal_cycle": 10,
        "kl_anneal_ratio": 1,
    }
    return Namespace(**(flags | others))


def test_a_lab_users_own_lines_train_and_test(dance_root, tmp_path):
    args = lab_namespace(dance_root, tmp_path / "run")
    model = Trainer.VAE_Model(args).to(args.device)
    model.load_checkpoint()
    model.training_stage()
    assert model.current_epoch == 1
    model.save(str(tmp_path / "mine.ckpt"))
    args = lab_namespace(
        dance_root, tmp_path / "out", ckpt_path=str(tmp_path / "mine.ckpt"), F_dim=128
    )
    tester = Tester.Test_model(args).to("cpu")
    tester.load_checkpoint()
    tester.test_stage()
    assert (tmp_path / "out" / "submission.csv").exists()


def test_the_steps_of_a_lab_users_own_loop(dance_root, tmp_path):
    model = Trainer.VAE_Model(lab_namespace(dance_root, tmp_path, kl_anneal_type="Without"))
    frames, poses = torch.rand(2, 4, 3, 32, 64), torch.rand(2, 4, 3, 32, 64)
    before = model.Generator[0].block[0].conv2.weight.clone()
    loss = model.training_one_step(frames, poses, True)
    assert loss.ndim == 0
    assert not torch.equal(before, model.Generator[0].block[0].conv2.weight)
    assert model.val_one_step(frames, poses).ndim == 0
    assert model.training, "val_one_step leaves the mode as it was"
    assert model.eval() is model
    assert not model.training
    model.current_epoch += 4
    assert model.tfr == 1.0
    model.current_epoch = 14
    assert model.teacher_forcing_ratio_update() == pytest.approx(0.5)
