"""A new model is one file: it goes through all that the scripts do, by the contract alone."""

import csv
import os
import signal

import pytest
import torch

import Reporter
import Tester
import Trainer
from engine.checkpoints import checkpoint
from engine.training.run import Run
from tests.support import toy
from tests.support.hostile import call

FLAGS = (
    *("--model", "toy", "--DR", ".", "--num_epoch", "3", "--batch_size", "4", "--lr", "0.01"),
    *("--device", "cpu", "--precision", "fp32", "--toy_rank", "9", "--tfr", "0.5"),
    *("--prediction_buffer", "--optim", "Muon", "--tfr_granularity", "batch"),
)
STEPS = 3 * 9


@pytest.fixture(autouse=True)
def known():
    with toy.registered():
        yield


@pytest.fixture
def undisturbed(tmp_path):
    folder = tmp_path / "undisturbed"
    code, said = call(Trainer, *FLAGS, "--save_root", folder)
    assert code == 0, said
    return folder


def test_it_trains_and_validates_beside_its_baseline(undisturbed):
    rows = list(csv.DictReader((undisturbed / "metrics.csv").open()))
    assert len(rows) == 3
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])
    last = rows[-1]
    assert float(last["noise_psnr"]) > float(last["noise_copied_psnr"])
    # A metric that no other model has is averaged and logged like all.
    assert 0 < float(last["loss"]) < float(last["l1"]) < 1


@pytest.mark.parametrize("stop_after", [1, 5, 9, 14])
def test_interrupted_anywhere_it_resumes_bit_for_bit(
    undisturbed, tmp_path, monkeypatch, stop_after
):
    step = Run.train_step

    def stopping(self, *arguments):
        metrics = step(self, *arguments)
        if self.step == stop_after:
            os.kill(os.getpid(), signal.SIGTERM)
        return metrics

    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(Run, "train_step", stopping)
        code, said = call(Trainer, *FLAGS, "--save_root", folder)
    assert code == 143, said
    assert checkpoint.load(folder / "last.ckpt")["step"] == stop_after
    code, said = call(Trainer, *FLAGS, "--save_root", folder)
    assert code == 0, said
    one, other = (checkpoint.load(place / "last.ckpt") for place in (folder, undisturbed))
    assert one["step"] == other["step"] == STEPS
    for name, value in one["state_dict"].items():
        assert torch.equal(value, other["state_dict"][name]), name
    rows = [list(csv.DictReader((p / "metrics.csv").open())) for p in (folder, undisturbed)]
    assert [row["l1"] for row in rows[0]] == [row["l1"] for row in rows[1]]


def test_it_is_tested_and_reported(undisturbed, tmp_path):
    out = tmp_path / "results"
    code, said = call(Tester, "--DR", ".", "--ckpt_path", undisturbed, "--save_root", out)
    assert code == 0, said
    assert (out / "rollout_seq0.npz").exists()
    assert (out / "report.html").exists()
    code, said = call(Reporter, undisturbed, out, "--out", tmp_path / "report")
    assert code == 0, said
    assert "undisturbed" in (tmp_path / "report" / "runs.csv").read_text()


def test_its_flags_are_its_own(undisturbed, tmp_path):
    code, said = call(Trainer, "--DR", ".", "--save_root", tmp_path / "x", "--toy_rank", "2")
    assert code == 2
    assert "--toy_rank is for --model toy, not for --model cvae" in said
    code, said = call(
        Tester, "--DR", ".", "--ckpt_path", undisturbed, "--save_root", tmp_path, "--toy_rank", "2"
    )
    assert code == 2
    assert "contradicts" in said
