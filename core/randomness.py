"""Randomness from counters: every random number is a function of (seed, purpose, counters).

Nothing depends on how often a generator was called before, so a resumed or a distributed run
samples what an undisturbed one samples. All of it is drawn on the host, so that a run samples the
same on every device; a GPU has the noise of a step sent while it computes the step before.
"""

from collections.abc import Sequence
from enum import IntEnum

import numpy as np
import torch
from torch import Tensor

from core.transfer import send


class Stream(IntEnum):
    """Purposes whose random numbers are independent of each other under one seed."""

    INITIAL_WEIGHTS = 0
    WINDOWS = 1
    TEACHER_FORCING = 2
    POSTERIOR = 3
    PRIOR = 4
    DIAGNOSTIC = 5
    SHOWN = 6
    AUGMENTATION = 7
    CONTEXT_SWAP = 8
    BODY = 9


def numpy_generator(seed: int, stream: Stream, *counters: int) -> np.random.Generator:
    """Return a NumPy generator for a few numbers on the host (orders, tosses)."""
    return np.random.default_rng(_entropy(seed, stream, counters))


def _entropy(seed: int, stream: Stream, counters: tuple[int, ...]) -> list[int]:
    # With their number, since NumPy takes (0,) and (0, 0) for the same.
    return [seed, int(stream), len(counters), *counters]


def torch_seed(seed: int, stream: Stream, *counters: int) -> int:
    """Return a 63-bit seed for a torch generator."""
    words = np.random.SeedSequence(_entropy(seed, stream, counters)).generate_state(1, np.uint64)
    return int(words[0] >> 1)


def normal(
    shape: Sequence[int],
    seed: int,
    stream: Stream,
    counters: Sequence[tuple[int, ...]],
    device: torch.device,
) -> Tensor:
    """Sample N(0, 1) of shape (len(counters), *shape); row i is a function of counters[i] alone."""
    noise = torch.empty(len(counters), *shape)
    generator = torch.Generator()
    for row, counter in zip(noise, counters, strict=True):
        generator.manual_seed(torch_seed(seed, stream, *counter))
        row.normal_(generator=generator)
    return send(noise, device)
