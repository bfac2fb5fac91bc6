"""CUDA graphs: work on fixed memory, recorded once and from then on replayed by one launch."""

from collections.abc import Callable
from typing import TypeVar

import torch

from core.signals import deferred

T = TypeVar("T")
WARM_UP = 3  # calls before a recording, in which kernels are chosen, compiled and loaded


def can_record(device: torch.device) -> bool:
    """Tell whether work on a device can be recorded."""
    return device.type == "cuda"


def record(
    work: Callable[[], T], device: torch.device, warm_up: Callable[[], object] | None = None
) -> Callable[[], T]:
    """Record what `work` does on a CUDA device, without doing it; return what does it.

    warm_up does the same with no effect that matters; it is called some times before, `work`
    itself where not given. What the recorded work returns lies in fixed memory: each replay
    returns the same tensors and overwrites them. Signals wait until the recording is over, which
    their exceptions would break in a way of its own.
    """
    with torch.cuda.device(device):  # streams and graphs are those of the current one
        side_stream = torch.cuda.Stream()
        side_stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side_stream):
            for _ in range(WARM_UP):
                (warm_up or work)()
        torch.cuda.current_stream().wait_stream(side_stream)
        graph = torch.cuda.CUDAGraph()
        # Other threads may go on, such as the one that writes checkpoints.
        with deferred(), torch.cuda.graph(graph, capture_error_mode="thread_local"):
            result = work()

    def replay() -> T:
        graph.replay()
        return result

    return replay
