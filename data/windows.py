"""Which frames form the windows of an epoch: index arithmetic, no pictures.

A recording is a range of frame indices with no cut inside, or what the holdout leaves of one;
windows never leave their recording.
"""

from collections.abc import Iterable

import numpy as np

from core.randomness import Stream, numpy_generator

Recording = tuple[int, int]  # first index, one past the last


def split_into_recordings(
    numbers: np.ndarray, cuts: Iterable[int] = (), holdout: tuple[int, int] | None = None
) -> list[Recording]:
    """Split frames, given by their rising numbers, where two neighbors do not belong together.

    That is at a gap in the numbers, at each cut (the number that begins a new recording), and
    around the holdout [A, B) of numbers, which is left out.
    """
    begins = np.flatnonzero((np.diff(numbers) != 1) | np.isin(numbers[1:], list(cuts))) + 1
    edges = {0, len(numbers), *begins.tolist()}
    first, last = np.searchsorted(numbers, holdout).tolist() if holdout else (0, 0)
    edges = sorted(edges | {first, last})
    return [(a, b) for a, b in zip(edges, edges[1:]) if not (first <= a and b <= last)]


def fixed_starts(recordings: list[Recording], length: int) -> np.ndarray:
    """Return the first indices of windows laid end to end in every recording (docs/lab.md)."""
    starts = [np.arange(a, b - length + 1, length) for a, b in recordings]
    return np.concatenate(starts) if starts else np.empty(0, np.int64)


def shifted_starts(
    recordings: list[Recording], length: int, windows: int, rng: np.random.Generator
) -> np.ndarray:
    """Return `windows` first indices with random starts that together cover every recording.

    Each recording is tiled end to end from a random offset below `length`; what the offsets cost
    is made up by windows at random places. Needs a recording of at least `length` frames.
    """
    long_enough = [(a, b) for a, b in recordings if b - a >= length]
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
    recordings: list[Recording], length: int, windows: int, *, fixed: bool, seed: int, epoch: int
) -> np.ndarray:
    """Return the first index of every window of an epoch, in a shuffled order from (seed, epoch).

    `fixed` takes windows at multiples of `length` only, of which there may be fewer.
    """
    rng = numpy_generator(seed, Stream.WINDOWS, epoch)
    if fixed:
        return rng.permutation(fixed_starts(recordings, length)[:windows])
    return rng.permutation(shifted_starts(recordings, length, windows, rng))


def truncate(recordings: list[Recording], frames: int) -> list[Recording]:
    """Keep the first `frames` frames of the recordings."""
    kept = []
    for a, b in recordings:
        b = min(b, a + frames)
        frames -= b - a
        if b > a:
            kept.append((a, b))
    return kept


def data_fraction(settings, epoch: int) -> float:
    """Return the part of the training frames an epoch uses: `--partial`.

    With `--fast_train` the first epochs use `--fast_partial` where that is less.
    """
    if settings.fast_train and epoch < settings.fast_train_epoch:
        return min(settings.fast_partial, settings.partial)
    return settings.partial
