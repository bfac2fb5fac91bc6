"""Runs and checkpoints written before the rooms, and the names, that there are now.

tests/fixtures holds a run of each model as the last commit of the old layout (0ca9237) left it in
the middle of its second epoch, and the weights that commit ended with.
"""

import shlex
import shutil
from pathlib import Path

import pytest
import torch

import Reporter
import Tester
import Trainer
from engine.checkpoints import checkpoint
from tests.support import FIXTURES
from tests.support.hostile import call

RUNS = {  # with the spellings of then
    "dance": "--frame_H 16 --frame_W 16 --F_dim 8 --L_dim 2 --N_dim 4 --D_out_dim 8 "
    "--val_vi_len 6 --train_vi_len 2 --batch_size 2 --tfr 0 --replay --stray 0.25 --scene "
    "--patch 2 --optim Muon --augment --mirror 0.3 --max_norm 0.7 --tfr_coin batch --z mean "
    "--lr_schedule constant --kl_anneal_type None --keep 4",
    "robot": "--model svg --vgg_width 1 --g_dim 4 --z_dim 2 --rnn_size 8 --n_past 2 --n_future 2 "
    "--n_eval 5 --epoch_size 4 --batch_size 2 --optim Adam --tfr 0.5 --tfr_coin step "
    "--no_condition --per_val 1",
}
HERE = "--device cpu --precision fp32"


@pytest.fixture(params=RUNS)
def former(request, tmp_path):
    """The name of a run, its data, and a copy of its folder."""
    copy = shutil.copytree(FIXTURES / f"{request.param}_run", tmp_path / "run")
    return request.param, FIXTURES / request.param, Path(copy)


def test_the_same_command_resumes_it_and_ends_where_it_did(former):
    name, data, run = former
    flags = shlex.split(f"{RUNS[name]} {HERE} --num_epoch 2")
    code, said = call(Trainer, "--DR", data, "--save_root", run, *flags)
    assert code == 0, said
    assert "going on from" in said
    expected = torch.load(run / "expected.pt", weights_only=True)
    found = checkpoint.load(run / "last.ckpt")
    assert found["step"] == expected["step"]
    for key, weight in expected["state_dict"].items():
        torch.testing.assert_close(found["state_dict"][key], weight, rtol=1e-4, atol=1e-6)


def test_it_resumes_under_the_names_of_now(former):
    name, data, run = former
    now = {
        "--replay": "--prediction_buffer",
        "--stray": "--context_swap",
        "--mirror": "--flip_prob",
    }
    now |= {"--scene": "--positional_bias", "--patch": "--patch_size", "--z": "--latent"}
    now |= {"--max_norm": "--grad_clip_norm", "--tfr_coin": "--tfr_granularity"}
    now |= {"--no_condition": "--action_free", "--keep": "--keep_checkpoints"}
    flags = [now.get(word, word) for word in shlex.split(f"{RUNS[name]} {HERE} --num_epoch 2")]
    code, said = call(Trainer, "--DR", data, "--save_root", run, *flags)
    assert code == 0, said
    assert "going on from" in said


def test_another_setting_begins_anew_and_says_which(former):
    name, data, run = former
    flags = shlex.split(f"{RUNS[name]} {HERE} --num_epoch 1 --lr 0.5 --resume auto")
    code, said = call(Trainer, "--DR", data, "--save_root", run, *flags)
    assert code == 0, said
    assert f"{run} holds a run with other settings: lr: " in said
    assert list(run.glob("previous-*/last.ckpt"))


def test_it_is_continued_warm_started_tested_and_reported(former, tmp_path):
    _, data, run = former
    out = tmp_path / "results"
    code, said = call(Tester, "--DR", data, "--ckpt_path", run / "last.ckpt", "--save_root", out)
    assert code == 0, said
    assert (out / "report.html").exists()
    code, said = call(Reporter, run, out, "--out", tmp_path / "report")
    assert code == 0, said
    flags = ("--DR", data, "--device", "cpu", "--num_epoch", "2", "--save_root", tmp_path / "next")
    code, said = call(Trainer, *flags, "--ckpt_path", run)
    assert code == 0, said
    settings = checkpoint.read(tmp_path / "next" / "last.ckpt").settings
    stored = checkpoint.read(run / "last.ckpt").settings
    kept = {"optim", "batch_size", "tfr_granularity", "grad_clip_norm", "action_free", "model"}
    assert {name: settings[name] for name in kept} == {name: stored[name] for name in kept}
