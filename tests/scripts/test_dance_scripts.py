"""The scripts as a user runs them, on tiny drawn data; and a lab user's own lines."""

import csv
import json
import shutil
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import Tester
import Trainer
from engine.checkpoints import checkpoint
from settings.flags import tester_parser, trainer_parser
from settings.models import MODELS
from settings.resolve import make_settings, parse_explicit
from tests.support.scripts import ROOT, TINY, good, rows_of, run


@pytest.fixture(scope="module")
def trained(dance_root, tmp_path_factory) -> Path:
    """A run folder after two epochs with a held-out piece."""
    folder = tmp_path_factory.mktemp("run")
    good(
        run(
            "Trainer.py",
            f"--DR {dance_root} --save_root {folder} {TINY} --num_epoch 2 --per_save 1 "
            "--holdout 40:50 --lr 0.002",
        )
    )
    return folder


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
        assert float(row["holdout_psnr"]) > 0
        assert float(row["val_copy_first_psnr"]) > 0


def test_best_is_chosen_by_the_held_out_piece(trained):
    best = checkpoint.load(trained / "best.ckpt")["best"]
    scores = [float(row["holdout_psnr"]) for row in rows_of(trained)]
    assert best["set"] == "holdout"
    assert best["epoch"] == int(np.argmax(scores))
    assert best["psnr"] == pytest.approx(max(scores))


def test_continuing_ours_equals_never_having_stopped(dance_root, tmp_path):
    """Weights and log after 1 + 2 epochs are those of 3 epochs in one go, bit for bit."""
    flags = f"--DR {dance_root} {TINY} --per_save 1 --num_epoch 3 --tfr_coin step --tfr 0.5"
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


# --------------------------------------------------------------------- Tester


def test_the_tester_writes_gifs_submission_and_scores(dance_root, trained, tmp_path):
    out = good(run("Tester.py", f"--DR {dance_root} --save_root {tmp_path} --ckpt_path {trained}"))
    names = {path.name for path in tmp_path.iterdir()}
    sequences = sorted(int(p.name) for p in (dance_root / "test/test_label").iterdir())
    assert {f"pred_seq{k}.gif" for k in sequences} <= names
    assert {"submission.csv", "scores.csv", "scores.png", "summary.csv"} <= names
    lengths = [len(list((dance_root / f"test/test_label/{k}").iterdir())) for k in sequences]
    lines = (tmp_path / "submission.csv").read_text().splitlines()
    assert len(lines) == 1 + sum(lengths)
    assert lines[0] == "id," + ",".join(map(str, range(3 * 32 * 64)))
    first = np.array(lines[1].split(",")[1:], int).reshape(3, 32, 64)
    with Image.open(dance_root / "test/test_img/0/0.png") as image:
        given = np.asarray(image.convert("RGB").resize((64, 32), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(first, given.transpose(2, 0, 1))
    assert "mean" in out


def test_scores_are_those_of_the_submission(dance_root, trained, tmp_path):
    """PSNR by hand from submission.csv and the true PNGs equals the table's."""
    good(run("Tester.py", f"--DR {dance_root} --save_root {tmp_path} --ckpt_path {trained}"))
    csv_rows = np.loadtxt(tmp_path / "submission.csv", delimiter=",", skiprows=1)[:, 1:]
    length = len(list((dance_root / "test/test_label/0").iterdir()))
    psnr = []
    for t in range(1, min(length, 601)):
        with Image.open(dance_root / f"test/test_gt/0/{t}.png") as image:
            true = np.asarray(image.resize((64, 32), Image.Resampling.BILINEAR), float)
        mse = ((csv_rows[t].reshape(3, 32, 64) - true.transpose(2, 0, 1)) ** 2).mean()
        psnr.append(10 * np.log10(255**2 / mse))
    with (tmp_path / "summary.csv").open() as file:
        table = {row["sequence"]: row for row in csv.DictReader(file)}
    assert float(table["0"]["psnr"]) == pytest.approx(np.mean(psnr), abs=1e-3)


def test_another_frame_size_and_the_split_val(dance_root, tmp_path):
    size = "--frame_H 16 --frame_W 24"
    good(run("Trainer.py", f"--DR {dance_root} --save_root {tmp_path} {TINY} {size} --num_epoch 1"))
    out = tmp_path / "out"
    good(
        run("Tester.py", f"--DR {dance_root} --save_root {out} --ckpt_path {tmp_path} --split val")
    )
    with Image.open(out / "pred_seqval0.gif") as gif:
        assert gif.size == (24, 16)


# ---------------------------------------------------------- lab checkpoints


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
    """A model that draws without a sigmoid is validated, and trained on, without one."""
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
    flags = f"--DR {dance_root} --save_root {tmp_path / 'r'} {TINY} --num_epoch 1 --patch 2"
    good(run("Trainer.py", flags))
    done = run("Tester.py", f"--ckpt_path {tmp_path / 'r'} --export_lab {tmp_path / 'x.ckpt'}")
    assert done.returncode == 2
    assert "--patch" in done.stderr
    assert not (tmp_path / "x.ckpt").exists()


def test_a_replay_goes_on_where_it_stood(dance_root, tmp_path):
    """With --replay too, a stopped and continued run is the undisturbed one, bit for bit."""
    flags = f"--DR {dance_root} {TINY} --replay --scene --patch 2 --tfr 0 --num_epoch 2"
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
    """A score on the held-out piece and one on val are not compared."""
    shutil.copytree(trained, tmp_path / "r")
    flags = f"--DR {dance_root} --save_root {tmp_path / 'r'} --ckpt_path {tmp_path / 'r'}"
    good(run("Trainer.py", flags + " --num_epoch 3 --holdout 20:26"))
    best = checkpoint.load(tmp_path / "r" / "best.ckpt")["best"]
    assert best["epoch"] == 2
    assert best["holdout"] == [20, 26]


# ------------------------------------------------- what users of the lab type

LAB_LINES = [
    "Trainer.py --DR ../LAB4_Dataset --save_root checkpoints --num_epoch 500 --per_save 10 "
    "--num_workers 6 --batch_size 8 --wandb",
    "Trainer.py --DR ../LAB4_Dataset --save_root checkpoints --num_epoch 500 --num_workers 8 "
    "--batch_size 16 --kl_anneal_cycle 20 --kl_anneal_ratio 0.5 --tfr 0.0 --wandb",
    "Trainer.py --DR ../LAB4_Dataset --save_root checkpoints --use_wandb --num_epoch 300 "
    "--per_save 1 --num_workers 6 --batch_size 8",
    "Trainer.py --DR D --save_root S --fast_train --kl_anneal_type Monotonic",
    "Trainer.py --DR D --save_root S --gpu 1 --test --ckpt_path C --store_visualization "
    "--optim Adam --device cuda --partial 0.5 --kl_anneal_type Without --wandb_id abc",
    "Tester.py --DR ../LAB4_Dataset --save_root ./results --ckpt_path checkpoints/epoch=20.ckpt",
    "Tester.py --DR D --save_root S --ckpt_path C --no_sanity --make_gif --batch_size 2 --gpu 0 "
    "--num_epoch 70 --tfr 1.0 --fast_train --kl_anneal_type Cyclical --val_vi_len 630",
]


@pytest.mark.parametrize("line", LAB_LINES)
def test_every_command_line_of_the_lab_parses(line):
    script, *flags = line.split()
    parser = trainer_parser() if script == "Trainer.py" else tester_parser()
    explicit = parse_explicit(parser, flags)
    settings = make_settings(parser, explicit)
    assert flags[flags.index("--DR") + 1] == settings.DR
    assert settings.wandb == bool({"--wandb", "--use_wandb"} & set(flags))


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


def test_presets_give_way_to_flags_and_to_the_checkpoint():
    parser = trainer_parser()
    quick = make_settings(parser, parse_explicit(parser, ["--preset", "quick"]))
    assert quick.F_dim == MODELS["cvae"].presets["quick"]["F_dim"]
    flags = ["--preset", "quick", "--lr", "0.5"]
    assert make_settings(parser, parse_explicit(parser, flags)).lr == 0.5
    stored = {"preset": "quick", "lr": 0.25, "tfr": 0.75, "DR": "elsewhere"}
    settings = make_settings(parser, {"tfr": 0.5}, stored)
    assert (settings.lr, settings.tfr, settings.DR) == (0.25, 0.5, None)


def test_template_preset_is_the_course_template():
    parser = trainer_parser()
    settings = make_settings(parser, {"preset": "template"})
    assert (settings.optim, settings.lr, settings.lr_schedule) == ("Adam", 1e-3, "multistep")
    assert (settings.F_dim, settings.L_dim, settings.N_dim, settings.D_out_dim) == (
        128,
        32,
        12,
        192,
    )
