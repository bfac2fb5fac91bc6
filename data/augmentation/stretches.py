"""Which frames are changed: some in a row, here and there in the recordings."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from data.windows import Recording

SHORTEST, LONGEST = 20, 80  # frames of a stretch
FEWEST = 8  # of a stretch that can be changed; fewer are left as they are


class Stretch(NamedTuple):
    """Frames `rows` (n,) to change, and where each of them is along the stretch, (n,) in [0, 1]."""

    rows: np.ndarray
    along: np.ndarray
    length: int  # in frames, with those that cannot be changed


def draw_stretches(
    recordings: list[Recording],
    usable: Sequence[np.ndarray],
    shares: Sequence[float],
    rng: np.random.Generator,
) -> list[list[Stretch]]:
    """Draw stretches for every kind of change, until they have its share of all frames.

    usable (N,) bool: the frames that can be changed so. No frame is in two stretches.
    """
    slots = []
    for first, end in recordings:
        at = first - int(rng.integers(LONGEST))
        while at < end:
            length = int(rng.integers(SHORTEST, LONGEST + 1))
            if at + length > first:
                slots.append(np.arange(max(first, at), min(at + length, end)))
            at += length
    total = sum(end - first for first, end in recordings)
    order = iter(rng.permutation(len(slots)).tolist())
    found = []
    for can_be, share in zip(usable, shares, strict=True):
        missing, mine = share * total, []
        while missing > 0 and (slot := next(order, None)) is not None:
            rows = slots[slot]
            chosen = can_be[rows]
            if chosen.sum() >= FEWEST:
                along = np.linspace(0, 1, len(rows))
                mine.append(Stretch(rows[chosen], along[chosen], len(rows)))
                missing -= chosen.sum()
        found.append(mine)
    return found
