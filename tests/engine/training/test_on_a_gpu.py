"""A training step and a validation as a GPU would get them: nothing waits, nothing lies elsewhere.

There is no GPU: its tensors have shapes and no values (tests/support/fake_gpu.py). A value that is
read, and an operation on tensors of two devices, raise; copies that the host waits for are counted,
and what is launched. A new wait fails here, and so do a hundred new launches.
"""

import pytest
import torch

from core.device import Compute
from data.types import Batch, Clip
from dataloader import DanceWindows, RobotWindows
from engine.evaluation import rollout
from engine.evaluation.validation import validate
from engine.training.prediction_buffer import begin_prediction_buffer
from engine.training.run import Run
from modules.svg import SVG, SVGConfig
from modules.vae import CVAE, CVAEConfig
from tests.support import FIXTURES
from tests.support.fake_gpu import GPU, fake_gpu
from tests.support.graphs import stand_in
from tests.support.launches import Launches

ROBOT = {
    "model": "svg", "vgg_width": 1, "g_dim": 4, "z_dim": 2, "rnn_size": 8, "n_past": 2,
    "n_future": 2, "n_eval": 5, "epoch_size": 4, "batch_size": 2,
}  # fmt: skip


@pytest.mark.parametrize(("optim", "most"), [("Muon", 730), ("AdamW", 700)])
def test_a_step_of_the_dance_model_waits_for_nothing(
    dance_root, settings, monkeypatch, optim, most
):
    flags = settings(
        DR=str(dance_root), train_vi_len=3, batch_size=4, optim=optim, prediction_buffer=True,
        context_swap=0.5, augment=True, positional_bias=True, patch_size=2, F_dim=16, D_out_dim=16,
    )  # fmt: skip
    data = DanceWindows(flags, GPU)
    with fake_gpu(monkeypatch) as gpu:
        run = Run(CVAE(CVAEConfig.from_settings(flags)), flags, Compute(GPU, bf16=True))
        run.prediction_buffer = begin_prediction_buffer(None, data.place(), 0)
        launches = taken(run, data, gpu)
    assert launches.waits == []
    assert len(launches.sent) == 5  # three of the moves, swapped context, noise
    assert launches.count < most


@pytest.mark.parametrize("forced", [True, False])
def test_a_step_of_the_robot_model_waits_for_nothing(settings, monkeypatch, forced):
    flags = settings(**ROBOT, DR=str(FIXTURES / "robot"), optim="Muon", tfr=float(forced))
    data = RobotWindows(flags, GPU)
    with fake_gpu(monkeypatch) as gpu:
        run = Run(SVG(SVGConfig.from_settings(flags)), flags, Compute(GPU, bf16=True))
        launches = taken(run, data.place(), gpu)
    assert launches.waits == []
    assert len(launches.sent) == 1  # noise
    assert launches.count < 480


def test_weights_are_cast_once_a_step_however_often_they_are_used(settings, monkeypatch):
    flags = settings(train_vi_len=6, frame_H=8, frame_W=8)
    with fake_gpu(monkeypatch) as gpu:
        run = Run(CVAE(CVAEConfig.from_settings(flags)), flags, Compute(GPU, bf16=True))
        frames = torch.rand(2, 6, 3, 8, 8, device=GPU)
        step, casts = run.training_step, []
        for forced in (True, False):
            batch = Batch(frames, frames)
            with gpu.launches() as launches:
                step.forward(run.model, run._inputs(batch, 0.0), [forced] * 5, None)
            casts.append(launches.casts)
    assert casts[0] < 215  # some 190 weights, and what the layers are given
    assert casts[1] < casts[0] + 20  # of five steps instead of one


def taken(run: Run, data, gpu) -> Launches:
    """Take steps; return what the last of them launched, its batch and its log included."""
    beta = torch.zeros((), device=GPU)
    batches = data.batches(0)
    for number in range(3):
        launches = gpu.launches()
        with launches:
            batch = next(batches)
            forced = [number == 1] * (batch.frames.shape[1] - 1)
            run.schedule()
            metrics = run.train_step(batch, forced, beta.fill_(0.1))
            run.epoch_metrics.add(batch, forced, metrics)
    on_gpu = (*metrics.values(), *run.model.parameters(), *run.epoch_metrics.metrics.values())
    assert all(x.device == GPU for x in on_gpu)
    return launches


def test_statistics_and_a_validation_are_computed_there(settings, monkeypatch):
    """What the host reads are the scores of each clip, the rollout itself and its restarts."""
    flags = settings(train_vi_len=3, frame_H=16, frame_W=16)
    with fake_gpu(monkeypatch) as gpu:
        run = Run(CVAE(CVAEConfig.from_settings(flags)), flags, Compute(GPU, bf16=True))
        frames = torch.rand(2, 3, 3, 16, 16, device=GPU)

        class Data:
            def batches(self, epoch, first=0):
                yield Batch(frames, frames)

        with gpu.launches() as launches:
            run.recompute_bn_stats(Data())
        assert launches.waits == []
        pixels = torch.zeros(40, 3, 16, 16, dtype=torch.uint8)
        clips = [Clip("0", pixels, pixels), Clip("1", pixels[:20], pixels[:20])]
        recorded, read = stand_in(monkeypatch), []
        monkeypatch.setattr(torch.Tensor, "__float__", lambda x: read.append(x) or 0.0)
        monkeypatch.setattr(rollout, "tell_restarts", lambda clips, restarts: restarts.cpu())
        with gpu.launches() as launches:
            validate(run.model, clips, flags, run.compute)
        # The rollout and its restarts, fourteen of each clip, the diagnostic.
        assert len(launches.waits) == 32
        assert len(read) == 6
        assert [graph.replays for graph in recorded] == [39]
