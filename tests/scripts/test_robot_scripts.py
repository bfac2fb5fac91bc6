"""The scripts on the robot model, as a user runs them; and kills that leave no trace."""

import csv
import shlex
from argparse import Namespace
from pathlib import Path

import pytest

import Tester
import Trainer
from core.errors import UserError
from demo.robot import make_dataset
from engine.checkpoints import checkpoint
from settings.models import MODELS
from tests.support.runs import assert_same_run, wait_for_output
from tests.support.scripts import TINY_ROBOT, good, rows_of, run, start_training, train


@pytest.fixture(scope="module")
def robot_root(tmp_path_factory) -> Path:
    """A synthetic set: four sequences of 8 frames to train on, three of each other split."""
    root = tmp_path_factory.mktemp("synthetic") / "robot"
    make_dataset(root, train_sequences=4, eval_sequences=3, frames=8)
    return root


@pytest.fixture(scope="module")
def trained(robot_root, tmp_path_factory) -> Path:
    """A run with the learned prior, which has every part of the model."""
    folder = tmp_path_factory.mktemp("run")
    code, said = train(
        f"--DR {robot_root} --save_root {folder} {TINY_ROBOT} --prior learned", folder / "out"
    )
    assert code == 0, said
    return folder


def test_training_leaves_log_and_checkpoints(trained):
    names = {path.name for path in trained.iterdir()}
    assert {"epoch=0.ckpt", "epoch=1.ckpt", "best.ckpt", "last.ckpt", "validate.gif"} <= names
    for row in rows_of(trained):
        loss, mse, kl, beta = (float(row[k]) for k in ("loss", "mse", "kl", "beta"))
        assert loss == pytest.approx(mse + beta * kl, rel=1e-4)
        assert float(row["validate_psnr"]) > 0
        assert float(row["validate_copy_last_psnr"]) > 0


def test_the_tester_knows_the_model_and_writes_scores_and_pictures(trained, robot_root, tmp_path):
    flags = f"--DR {robot_root} --ckpt_path {trained} --device cpu --num_samples 4 --video mp4"
    said = good(run("Tester.py", f"{flags} --save_root {tmp_path / 'results'}"))
    assert "best of 4" in said
    names = {path.name for path in (tmp_path / "results").iterdir()}
    for k in range(3):
        assert f"samples_seq_traj_0_to_255_{k}.gif" in names
        assert f"samples_seq_traj_0_to_255_{k}.mp4" in names
        assert f"strip_seq_traj_0_to_255_{k}.png" in names
    assert {"steps.csv", "sequences.csv", "summary.csv", "scores.png"} <= names
    with (tmp_path / "results" / "steps.csv").open() as file:
        steps = list(csv.DictReader(file))
    assert {row["of"] for row in steps} == {"best", "mean", "posterior", "copy_last"}
    assert {int(row["frame"]) for row in steps} == {2, 3, 4, 5}
    by_name = {row["of"]: row for row in steps if row["metric"] == "psnr" and row["frame"] == "2"}
    assert float(by_name["best"]["low"]) <= float(by_name["best"]["mean"])
    assert len((tmp_path / "results" / "sequences.csv").read_text().splitlines()) == 1 + 3


def test_a_killed_run_ends_as_the_undisturbed_one(trained, robot_root, tmp_path):
    folder, output = tmp_path / "run", tmp_path / "out"
    flags = f"--DR {robot_root} --save_root {folder} {TINY_ROBOT} --prior learned"
    process = start_training(f"{flags} --save_every_minutes 0.00001", output)
    wait_for_output(output, "epoch 0/1")
    process.kill()
    process.join(60)
    code, said = train(flags, output)
    assert code == 0, said
    assert "going on from" in output.read_text()
    assert_same_run(folder, trained)


@pytest.mark.parametrize("flags", ["--action_free", "--prior fixed --last_frame_skip"])
def test_other_modes_train(robot_root, tmp_path, flags):
    everything = f"--DR {robot_root} --save_root {tmp_path / 'run'} {TINY_ROBOT} --niter 1 {flags}"
    code, said = train(everything, tmp_path / "out")
    assert code == 0, said
    content = checkpoint.find(str(tmp_path / "run"), prefer=checkpoint.BEST).content
    assert content["settings"]["action_free"] == ("action_free" in flags)


def settings_of(flags: str) -> Namespace:
    return Trainer.read_settings(shlex.split(flags))[0]


def test_command_lines_of_the_lab_are_taken_with_its_defaults():
    settings = settings_of(
        "--model svg --data_root ../bair --log_dir logs --niter 100 --epoch_size 50 --tfr 1.0 "
        "--tfr_start_decay_epoch 30 --tfr_decay_step 0.02 --tfr_lower_bound 0.1 --beta 0.001 "
        "--kl_anneal_cyclical --kl_anneal_ratio 2 --kl_anneal_cycle 4 --optimizer adam --beta1 0.8 "
        "--n_past 3 --n_future 7 --n_eval 20 --rnn_size 128 --posterior_rnn_layers 2 "
        "--predictor_rnn_layers 3 --z_dim 32 --g_dim 64 --last_frame_skip --seed 4 --cuda "
        "--num_workers 2 --batch_size 20 --lr 0.001"
    )
    assert (settings.DR, settings.save_root, settings.num_epoch) == ("../bair", "logs", 100)
    assert (settings.tfr_sde, settings.tfr_d_step, settings.tfr_lower_bound) == (30, 0.02, 0.1)
    assert (settings.kl_anneal_type, settings.kl_anneal_ratio) == ("Cyclical", 0.5)
    assert (settings.kl_anneal_stop, settings.optim, settings.beta1) == (0.001, "Adam", 0.8)
    assert (settings.train_vi_len, settings.last_frame_skip) == (10, True)

    defaults = settings_of("--model svg --DR D")
    for name, value in {
        **{"lr": 0.002, "beta1": 0.9, "batch_size": 12, "num_epoch": 300, "epoch_size": 600},
        **{"tfr": 1.0, "tfr_sde": 0, "tfr_d_step": 0, "tfr_lower_bound": 0, "optim": "Adam"},
        **{"n_past": 2, "n_future": 10, "n_eval": 30, "rnn_size": 256, "z_dim": 64, "g_dim": 128},
        **{"posterior_rnn_layers": 1, "predictor_rnn_layers": 2, "kl_anneal_stop": 1e-4},
        **{"seed": 1, "kl_anneal_type": "Monotonic", "action_free": False, "prior": "fixed"},
    }.items():
        assert getattr(defaults, name) == value, name
    assert settings_of("--DR D").kl_anneal_type == "Cyclical"  # the dance lab's stay


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            "--model svg --DR D --prediction_buffer",
            "--prediction_buffer is not for --model svg: .*LSTMs",
        ),
        ("--model svg --DR D --F_dim 16", "--F_dim is for --model cvae, not for --model svg"),
        ("--DR D --action_free", "--action_free is for --model svg, not for --model cvae"),
        ("--model svg --DR D --preset best", "--preset large"),
        ("--model svg --DR D --n_eval 2", "--n_eval 2 must be more than --n_past 2"),
    ],
)
def test_flags_that_do_not_fit_are_named(flags, message):
    with pytest.raises(UserError, match=message):
        settings_of(flags)


def test_a_checkpoint_brings_its_model_and_refuses_another(trained):
    settings = settings_of(f"--DR D --ckpt_path {trained}")
    assert (settings.model, settings.prior, settings.vgg_width) == ("svg", "learned", 2)
    with pytest.raises(UserError, match="--prior fixed contradicts"):
        settings_of(f"--DR D --ckpt_path {trained} --prior fixed")
    with pytest.raises(UserError, match="--model cvae contradicts"):
        settings_of(f"--DR D --ckpt_path {trained} --model dance")
    assert MODELS["svg"].presets["quick"]["vgg_width"] != 2


@pytest.mark.parametrize("main", [Trainer.main, Tester.main])
def test_missing_data_is_one_line(trained, tmp_path, monkeypatch, capsys, main):
    flags = ["--model", "svg"] if main is Trainer.main else ["--ckpt_path", str(trained)]
    flags += ["--DR", str(tmp_path / "none"), "--save_root", str(tmp_path / "out")]
    monkeypatch.setattr("sys.argv", ["script", *flags])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("error: --DR")
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "out").exists()
