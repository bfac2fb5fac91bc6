"""A stand-in for CUDA graphs, so that what is kept around them is tested without a GPU."""

from collections.abc import Callable

import torch
from torch.utils._pytree import tree_leaves

from core import graphs


class StandIn:
    """What `core.graphs.record` returns, on any device: the work itself, done at each replay.

    As a graph does, it does nothing when it is recorded, reads its inputs from where they lay
    then, and returns the same tensors each time, overwritten.
    """

    def __init__(self, work: Callable, device: torch.device, warm_up: Callable | None = None):
        for _ in range(graphs.WARM_UP):
            (warm_up or work)()
        self.work, self.result, self.replays = work, None, 0
        RECORDED.append(self)

    def __call__(self):
        self.replays += 1
        result = self.work()
        if self.result is None:
            self.result = result
        for fixed, new in zip(tree_leaves(self.result), tree_leaves(result)):
            if torch.is_tensor(fixed):
                fixed.copy_(new)
        return self.result


RECORDED: list[StandIn] = []  # since `stand_in` was called


def stand_in(monkeypatch) -> list[StandIn]:
    """Let every device record by the stand-in; return the list of what was recorded."""
    RECORDED.clear()
    monkeypatch.setattr(graphs, "can_record", lambda device: True)
    monkeypatch.setattr(graphs, "record", StandIn)
    return RECORDED
