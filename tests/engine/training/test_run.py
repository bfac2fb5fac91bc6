"""A run: its place in time, its rates, what it hands on."""

import pytest
import torch

from core.device import Compute
from engine.checkpoints.checkpoint import Checkpoint
from engine.training import schedules
from engine.training.run import Run
from modules.vae import CVAE, CVAEConfig

CPU = torch.device("cpu")


def test_minutes_stretch_the_schedules_over_the_time(settings):
    flags = settings(num_epoch=10, minutes=2.0, lr=1.0, lr_schedule="cosine", tfr_sde=3)
    run = Run(CVAE(CVAEConfig.from_settings(flags)), flags, Compute(CPU))
    run.step = 10_000  # warm-up is over, if there were one
    for seconds, position in ((0, 0.0), (60, 5.0), (90, 7.5), (120, 10.0), (130, 10.0)):
        run.seconds = seconds
        assert run.fractional_epoch == pytest.approx(position)
        assert run.schedule()["lr"] == pytest.approx(schedules.learning_rate(flags, position))
        assert run.finished == (seconds >= 120)


def test_a_resumed_run_goes_on_counting_the_time(settings, tmp_path):
    flags = settings(minutes=2.0)
    run = Run(CVAE(CVAEConfig.from_settings(flags)), flags, Compute(CPU))
    run.seconds, run.epoch = 45.0, 3
    other = Run(CVAE(CVAEConfig.from_settings(flags)), flags, Compute(CPU))
    other.restore(Checkpoint({}, run.resume_state(), tmp_path / "x.ckpt"))
    assert (other.seconds, other.epoch, other.fractional_epoch) == (45.0, 3, run.fractional_epoch)


def test_the_rate_warms_up_step_by_step(settings):
    flags = settings(lr=1.0, lr_schedule="constant", lr_warmup=3)
    run = Run(CVAE(CVAEConfig.from_settings(flags)), flags, Compute(CPU))
    rates = []
    for run.step in range(5):
        rates.append(run.set_learning_rate())
    assert rates == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])
