"""What a window costs, counted for a model whose needs are known, and the refusal."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from core.device import Compute
from core.errors import UserError
from core.memory import as_bytes
from data.types import Batch
from engine.training import step_memory
from engine.training.step import TrainingStep
from engine.training.step_memory import ROOM, check_step_memory, measure_step_memory

SIDE = 16
FRAME = 4 * 3 * SIDE * SIDE  # bytes in float32


class Squares(nn.Module):
    """Keeps for each predicted frame the frame before it and that one scaled; both alike large."""

    latent_shape = (1, 1, 1)

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, batch, *, teacher_forcing, kl_beta, noise, bptt, previous):
        self.calls.add_(1)
        scaled = batch.frames[:, :-1].clone() * self.scale  # keeps the copy
        return scaled.square().mean(), {}, None  # keeps what is scaled


def run_of(B: int, T: int, buffered: bool = False):
    """A run, and data with one batch, as the measurement sees them."""
    settings = SimpleNamespace(prediction_buffer=buffered, batch_size=B)
    model, compute = Squares(), Compute(torch.device("cpu"))
    optimizer = torch.optim.SGD(model.parameters())
    step = TrainingStep(model, model, optimizer, compute, grad_clip_norm=1.0, bptt=0)
    run = SimpleNamespace(
        model=model, settings=settings, compute=compute, training_step=step, epoch=0
    )
    frames = torch.rand(B, T, 3, SIDE, SIDE)
    data = SimpleNamespace(
        frames=torch.zeros(50, SIDE, SIDE, 3, dtype=torch.uint8),
        batches=lambda epoch: iter([Batch(frames, frames)]),
    )
    return run, data


@pytest.mark.parametrize(("B", "T"), [(1, 2), (4, 2), (1, 3), (5, 9)])
def test_a_window_costs_what_autograd_keeps_of_it(B, T):
    found = measure_step_memory(*run_of(B, T))
    assert found.window == round(ROOM * (T - 1) * 2 * FRAME)
    assert found.step == B * found.window


def test_the_buffer_counts_as_held():
    without, with_buffer = (measure_step_memory(*run_of(2, 2, b)) for b in (False, True))
    assert with_buffer.held - without.held == 50 * SIDE * SIDE * 3


def test_a_buffer_that_stays_elsewhere_takes_nothing_of_the_device():
    run, data = run_of(2, 2, buffered=True)
    data.frames = data.frames.to("meta")  # as the host is to a GPU
    assert measure_step_memory(run, data).held == measure_step_memory(*run_of(2, 2)).held


def test_measuring_changes_nothing():
    run, data = run_of(3, 4)
    before = torch.get_rng_state()
    measure_step_memory(run, data)
    assert run.model.calls == 0
    assert run.model.scale.grad is None
    assert torch.equal(torch.get_rng_state(), before)


def test_too_many_windows_are_refused_with_the_number_that_fits(monkeypatch):
    run, data = run_of(8, 2)
    need = measure_step_memory(run, data)
    monkeypatch.setattr(step_memory, "free_memory", lambda _: need.held + 3 * need.window + 100)
    with pytest.raises(UserError, match=r"--batch_size 8: .* free: lower --batch_size to 3, or"):
        check_step_memory(run, data)
    monkeypatch.setattr(step_memory, "free_memory", lambda _: need.held)
    with pytest.raises(UserError, match="free: lower --train_vi_len"):
        check_step_memory(run, data)
    for free in (None, need.held + need.step):
        monkeypatch.setattr(step_memory, "free_memory", lambda _, free=free: free)
        assert check_step_memory(run, data) == need


def test_it_is_said_as_one_reads_it():
    assert as_bytes(831_488) == "812 KiB"
    assert as_bytes(35 * 2**20) == "35 MiB"
    said = str(measure_step_memory(*run_of(4, 2)))
    assert said.startswith("about 9 KiB a window, 36 KiB a step")
