"""Trainer.py as a user runs it, on a tiny synthetic dataset."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from engine.checkpoints import checkpoint
from tests.support.scripts import ROOT, TINY, good, rows_of, run

# -------------------------------------------------------------------- Trainer


def test_a_run_leaves_checkpoints_log_settings_and_gifs(trained):
    names = {path.name for path in trained.iterdir()}
    assert {"epoch=0.ckpt", "epoch=1.ckpt", "best.ckpt", "last.ckpt"} <= names
    assert {"metrics.csv", "settings.json", "val.gif", "holdout.gif"} <= names
    settings = json.loads((trained / "settings.json").read_text())
    assert settings["F_dim"] == 8
    assert settings["lr"] == 0.002
    rows = rows_of(trained)
    assert [row["epoch"] for row in rows] == ["0", "1"]
    for row in rows:
        loss, mse, kl, beta = (float(row[k]) for k in ("loss", "mse", "kl", "beta"))
        assert loss == pytest.approx(mse + beta * kl, rel=1e-5)
        for name in ("holdout", "val"):
            held = {k: float(row[f"{name}_{k}"]) for k in ("psnr", "loss", "mse", "kl")}
            assert held["loss"] == pytest.approx(held["mse"] + beta * held["kl"], rel=1e-5)
            assert held["psnr"] == pytest.approx(-10 * np.log10(held["mse"]), abs=2)
        assert float(row["val_copy_first_psnr"]) > 0


def test_best_is_chosen_by_the_holdout(trained):
    best = checkpoint.load(trained / "best.ckpt")["best"]
    scores = [float(row["holdout_psnr"]) for row in rows_of(trained)]
    assert best["set"] == "holdout"
    assert best["epoch"] == int(np.argmax(scores))
    assert best["psnr"] == pytest.approx(max(scores))


def test_continuing_ours_equals_never_having_stopped(dance_root, tmp_path):
    """Weights and log after 1 + 2 epochs are those of 3 epochs in one go, bit for bit."""
    flags = f"--DR {dance_root} {TINY} --per_save 1 --num_epoch 3 --tfr_granularity step --tfr 0.5"
    good(run("Trainer.py", f"{flags} --save_root {tmp_path / 'whole'}"))
    good(run("Trainer.py", f"{flags} --save_root {tmp_path / 'parts'}"))
    first = tmp_path / "parts" / "epoch=0.ckpt"
    good(
        run("Trainer.py", f"--DR {dance_root} --save_root {tmp_path / 'parts'} --ckpt_path {first}")
    )
    whole, parts = (checkpoint.load(tmp_path / f / "epoch=2.ckpt") for f in ("whole", "parts"))
    for key, value in whole["state_dict"].items():
        assert torch.equal(value, parts["state_dict"][key]), key
    assert whole["step"] == parts["step"]
    untimed = [
        [{k: v for k, v in row.items() if "second" not in k} for row in rows_of(tmp_path / f)]
        for f in ("whole", "parts")
    ]
    assert untimed[0] == untimed[1]


def test_the_same_seed_repeats_and_another_does_not(dance_root, tmp_path):
    weights = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        flags = (
            f"--DR {dance_root} --save_root {tmp_path / name} {TINY} --num_epoch 1 --seed {seed}"
        )
        good(run("Trainer.py", flags))
        weights.append(checkpoint.load(tmp_path / name / "last.ckpt")["state_dict"])
    a, b, c = (torch.cat([v.double().flatten() for v in w.values()]) for w in weights)
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_an_earlier_run_in_the_folder_is_set_aside(dance_root, tmp_path):
    for lr in (1e-3, 2e-3):
        flags = f"{TINY} --num_epoch 1 --lr {lr}"
        said = good(run("Trainer.py", f"--DR {dance_root} --save_root {tmp_path} {flags}"))
    assert "lr: 0.001 → 0.002" in said
    (aside,) = tmp_path.glob("previous-*")
    assert {"last.ckpt", "metrics.csv", "settings.json"} <= {p.name for p in aside.iterdir()}
    assert len(rows_of(tmp_path)) == 1


def test_warm_start_takes_weights_alone(dance_root, trained, tmp_path):
    flags = f"--DR {dance_root} --save_root {tmp_path} {TINY} --warm_start {trained} --num_epoch 1"
    good(run("Trainer.py", flags + " --lr 1e-9 --weight_decay 0"))
    old, new = (checkpoint.load(f / "last.ckpt") for f in (trained, tmp_path))
    assert new["last_epoch"] == 0
    for key, value in old["state_dict"].items():
        if "running" not in key and "tracked" not in key:  # BatchNorm goes on counting
            torch.testing.assert_close(value, new["state_dict"][key], atol=1e-6, rtol=0)


def test_validation_only_prints_the_score_of_the_log(dance_root, trained):
    out = good(
        run("Trainer.py", f"--DR {dance_root} --test --ckpt_path {trained / 'epoch=1.ckpt'}")
    )
    logged = float(rows_of(trained)[1]["holdout_psnr"])
    assert f"holdout: {logged:.2f} dB" in out


def test_a_wandb_run_without_login_is_offline(dance_root, tmp_path):
    flags = f"--DR {dance_root} --save_root {tmp_path} {TINY} --num_epoch 1 --use_wandb"
    done = run("Trainer.py", flags, WANDB_API_KEY="", HOME=str(tmp_path), WANDB_SILENT="true")
    good(done)
    assert "offline" in done.stderr
    assert list(tmp_path.glob("wandb/offline-run-*/*.wandb"))


def test_without_wandb_installed_it_says_so_and_trains(dance_root, tmp_path):
    (tmp_path / "wandb.py").write_text("raise ImportError('not here')")
    flags = f"--DR {dance_root} --save_root {tmp_path / 'run'} {TINY} --num_epoch 1 --wandb"
    done = run("Trainer.py", flags, PYTHONPATH=str(tmp_path))
    good(done)
    assert "wandb is not installed" in done.stderr


def test_starting_does_not_import_the_compiler():
    """It takes longer than all else that a script imports."""
    code = "import Trainer, Tester, Reporter, prepare, sys; print('torch._dynamo' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert good(done).strip() == "False"


# ---------------------------------------------------------- lab checkpoints


def test_a_prediction_buffer_goes_on_where_it_stood(dance_root, tmp_path):
    """With a prediction buffer too, a continued run is the undisturbed one, bit for bit."""
    flags = f"--DR {dance_root} {TINY} --prediction_buffer --positional_bias --patch_size 2 --tfr 0"
    flags += " --num_epoch 2"
    parts = tmp_path / "parts"
    good(run("Trainer.py", f"{flags} --save_root {parts} --num_epoch 1 --lr_schedule constant"))
    last = checkpoint.load(parts / "last.ckpt")
    assert last["prediction_buffer"].dtype == torch.uint8
    assert "prediction_buffer" not in checkpoint.load(parts / "best.ckpt")
    again = f"--DR {dance_root} --save_root {parts} --ckpt_path {parts} --num_epoch 2"
    good(run("Trainer.py", again))
    constant = tmp_path / "constant"
    good(run("Trainer.py", f"{flags} --lr_schedule constant --save_root {constant}"))
    one, other = (checkpoint.load(f / "last.ckpt") for f in (parts, constant))
    assert torch.equal(one["prediction_buffer"], other["prediction_buffer"])
    for key, value in one["state_dict"].items():
        assert torch.equal(value, other["state_dict"][key]), key


def test_another_optimizer_begins_afresh_and_says_so(dance_root, trained, tmp_path):
    flags = f"--DR {dance_root} --save_root {tmp_path} --ckpt_path {trained} --num_epoch 3"
    assert "begins afresh" in good(run("Trainer.py", flags + " --optim RMSprop"))


def test_best_starts_anew_where_another_set_judges(dance_root, trained, tmp_path):
    """A score on the holdout and one on val are not compared."""
    shutil.copytree(trained, tmp_path / "r")
    flags = f"--DR {dance_root} --save_root {tmp_path / 'r'} --ckpt_path {tmp_path / 'r'}"
    good(run("Trainer.py", flags + " --num_epoch 3 --holdout 20:26"))
    best = checkpoint.load(tmp_path / "r" / "best.ckpt")["best"]
    assert best["epoch"] == 2
    assert best["holdout"] == [20, 26]
