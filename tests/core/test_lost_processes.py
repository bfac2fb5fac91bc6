"""A process that is lost is named; an error of our own is not taken for a loss."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from core import distributed
from tests.support.scripts import join, start_ranks


def lose_the_other(folder: Path, exchange: Callable[[], None]) -> None:
    with contextlib.suppress(SystemExit), distributed.joined():
        step = exchange()
        step()
        if distributed.rank() == 1:
            os._exit(9)
        try:
            while True:
                step()
        except Exception as error:
            (folder / "error").write_text(f"{type(error).__name__}: {error}")
            os._exit(2)


def figures() -> Callable[[], None]:
    return lambda: distributed.all_reduce_max(0)


def gradients() -> Callable[[], None]:
    network = distributed.data_parallel(nn.Linear(300, 300))
    return lambda: distributed.backward(network(torch.ones(1, 300)).sum())


@pytest.mark.parametrize("exchange", [figures, gradients])
def test_a_lost_process_is_named_in_one_line(tmp_path, exchange):
    assert join(start_ranks(2, lose_the_other, tmp_path, exchange)) == [2, 9]
    said = (tmp_path / "error").read_text()
    assert said.startswith("UserError")
    assert "--max-restarts" in said


class Fails(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        raise RuntimeError("not enough memory")


def fail_in_backward(folder: Path) -> None:
    with contextlib.suppress(RuntimeError), distributed.joined():
        network = distributed.data_parallel(nn.Linear(3, 3))
        try:
            distributed.backward(network(Fails.apply(torch.ones(1, 3, requires_grad=True))).sum())
        except Exception as error:
            (folder / f"{distributed.rank()}").write_text(f"{type(error).__name__}: {error}")
            raise


def test_an_error_of_a_backward_pass_is_not_taken_for_a_loss(tmp_path):
    """So that running out of memory is said as such (core/errors.py)."""
    join(start_ranks(2, fail_in_backward, tmp_path))
    for rank in ("0", "1"):
        assert (tmp_path / rank).read_text() == "RuntimeError: not enough memory"
