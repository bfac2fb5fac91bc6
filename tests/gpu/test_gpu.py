"""What a GPU computes is what the CPU does, and what is recorded is what is written."""

import pytest
import torch

from benchmarks.gpu_checks import (
    SMALL,
    exact,
    like_the_cpu,
    recorded_like_written,
    resumed_like_undisturbed,
    rolled_out_like_the_cpu,
)
from core.device import Compute
from engine.evaluation.rollout import CapturedPredict
from tests.support.vae import tiny

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA here"),
]
GPU = torch.device("cuda")


@pytest.mark.parametrize("case", SMALL, ids=lambda case: case.name)
@pytest.mark.parametrize("check", [like_the_cpu, recorded_like_written, resumed_like_undisturbed])
def test_training_there_is_right(check, case):
    found = check(case, GPU)
    assert found.holds, found


def test_a_captured_rollout_is_the_one_of_the_cpu():
    found = rolled_out_like_the_cpu(GPU)
    assert found.holds, found


def test_a_captured_step_takes_new_conditions_and_noise():
    model = Compute(GPU).prepare(tiny()).eval()
    frame, pose = torch.rand(2, 1, 3, 32, 64, device=GPU)
    with torch.inference_mode(), exact():
        condition = model.encode_conditions(pose[None])[:, 0]
        noise = torch.randn(1, *model.latent_shape, device=GPU)
        expected, _ = model.predict(frame, 2 * condition, None, 2 * noise)
        captured = CapturedPredict(model.predict, frame, condition, None, noise)
        predicted, _ = captured(frame, 2 * condition, None, 2 * noise)
    torch.testing.assert_close(predicted, expected)
