"""Which frames form the windows of an epoch: index arithmetic, no pictures.

A segment is a range of frame indices with no cut inside; windows never leave their segment.
"""

from collections.abc import Iterable

import numpy as np

from core.randomness import Stream, numpy_generator

Segment = tuple[int, int]  # first index, one past the last


def segments(
    numbers: np.ndarray, cuts: Iterable[int] = (), holdout: tuple[int, int] | None = None
) -> list[Segment]:
    """Split frames, given by their rising numbers, where two neighbors do not belong together.

    That is at a gap in the numbers, at each cut (the number that begins a new recording), and
    around the held-out numbers [A, B), which form no segment.
    """
    begins = np.flatnonzero((np.diff(numbers) != 1) | np.isin(numbers[1:], list(cuts))) + 1
    edges = {0, len(numbers), *begins.tolist()}
    first, last = np.searchsorted(numbers, holdout).tolist() if holdout else (0, 0)
    edges = sorted(edges | {first, last})
    return [(a, b) for a, b in zip(edges, edges[1:]) if not (first <= a and b <= last)]


def fixed_starts(parts: list[Segment], length: int) -> np.ndarray:
    """Return the first indices of windows laid end to end in every segment (the lab's way)."""
    starts = [np.arange(a, b - length + 1, length) for a, b in parts]
    return np.concatenate(starts) if starts else np.empty(0, np.int64)


def shifted_starts(
    parts: list[Segment], length: int, windows: int, rng: np.random.Generator
) -> np.ndarray:
    """Return `windows` first indices with random starts that together cover every segment.

    Each segment is tiled end to end from a random offset below `length`; what the offsets cost
    is made up by windows at random places. Needs a segment of at least `length` frames.
    """
    long_enough = [(a, b) for a, b in parts if b - a >= length]
    tiles = []
    for a, b in long_enough:
        offset = rng.integers(min(length, b - a - length + 1))
        tiles.append(np.arange(a + offset, b - length + 1, length))
    starts = rng.permutation(np.concatenate(tiles))[:windows]
    if missing := windows - len(starts):
        possible = np.concatenate([np.arange(a, b - length + 1) for a, b in long_enough])
        starts = np.concatenate([starts, rng.choice(possible, missing)])
    return starts


def epoch_starts(
    parts: list[Segment], length: int, windows: int, *, fixed: bool, seed: int, epoch: int
) -> np.ndarray:
    """Return the first index of every window of an epoch, in a shuffled order from (seed, epoch).

    `fixed` takes windows at multiples of `length` only, of which there may be fewer.
    """
    rng = numpy_generator(seed, Stream.WINDOWS, epoch)
    if fixed:
        return rng.permutation(fixed_starts(parts, length)[:windows])
    return rng.permutation(shifted_starts(parts, length, windows, rng))


def truncate(parts: list[Segment], frames: int) -> list[Segment]:
    """Keep the first `frames` frames of the segments."""
    kept = []
    for a, b in parts:
        b = min(b, a + frames)
        frames -= b - a
        if b > a:
            kept.append((a, b))
    return kept


def data_fraction(settings, epoch: int) -> float:
    """Return the part of the training frames an epoch uses (`--fast_train`, `--partial`)."""
    if settings.fast_train and epoch < settings.fast_train_epoch:
        return settings.fast_partial
    return settings.partial
