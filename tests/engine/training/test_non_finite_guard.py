"""A step that is not finite leaves no trace; many in a row end the run with advice."""

import copy

import pytest
import torch

from core.randomness import Stream, normal
from data.types import Batch
from engine.training.non_finite_guard import LIMIT
from tests.support.runs import same
from tests.support.scripts import TINY, run
from Trainer import VAE_Model


def batch(step: int) -> Batch:
    counters = [(step, sample) for sample in range(2)]
    frames, poses = (
        normal((3, 3, 16, 16), seed, Stream.DIAGNOSTIC, counters, torch.device("cpu"))
        for seed in (1, 2)
    )
    return Batch(frames.sigmoid(), poses.sigmoid())


@pytest.mark.parametrize("optim", ["Adam", "AdamW", "RMSprop", "Muon", "Muon as on a GPU"])
@pytest.mark.parametrize("spoiled", ["frames", "conditions"])
def test_a_step_that_is_not_finite_changes_nothing(settings, optim, spoiled):
    flags = settings(optim=optim.split()[0], frame_H=16, frame_W=16, lr=1e-3)
    model = VAE_Model(flags)
    run = model.trainer.run
    run.optimizer.masked = optim.endswith("GPU")
    run.train_step(batch(0), [False, False], 1.0)
    before = copy.deepcopy((model.state_dict(), run.optimizer.state_dict()))
    good = batch(1)
    getattr(good, spoiled)[0, 1, 0, 3, 3] = float("nan")
    metrics = run.train_step(good, [False, False], 1.0)
    assert same((model.state_dict(), run.optimizer.state_dict()), before)
    assert metrics["skipped"] == 1
    assert all(value == 0 for name, value in metrics.items() if name != "skipped")
    assert float(run.guard.skipped_in_a_row) == 1

    metrics = run.train_step(batch(2), [False, False], 1.0)
    assert metrics["skipped"] == 0
    assert metrics["loss"] > 0
    assert float(run.guard.skipped_in_a_row) == 0
    assert not same(model.state_dict(), before[0])


def test_the_guard_does_not_change_a_finite_step(settings):
    """The fused step with its flag at 0 is the fused step."""
    model = VAE_Model(settings(frame_H=16, frame_W=16, lr=1e-3))
    run = model.trainer.run  # puts the weights into the layout they are trained in
    weights = [torch.nn.Parameter(p.detach().clone()) for p in model.parameters()]
    plain = torch.optim.AdamW(weights, lr=1e-3, weight_decay=0.01, fused=True)
    for step in range(3):
        run.train_step(batch(step), [False, False], 1.0)
        for weight, parameter in zip(weights, model.parameters()):
            weight.grad = parameter.grad.clone()
        plain.step()
    assert all(map(torch.equal, weights, model.parameters()))


def test_a_run_that_diverges_stops_with_advice(dance_root, tmp_path):
    done = run(
        "Trainer.py",
        f"--DR {dance_root} --save_root {tmp_path} {TINY} --lr 1e30 --num_epoch 40 "
        "--lr_schedule constant --output_activation none --per_val 100",
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert f"no finite loss in the {LIMIT} steps" in done.stderr
    assert "--lr" in done.stderr
    assert "Traceback" not in done.stderr
