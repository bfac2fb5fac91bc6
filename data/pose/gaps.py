"""What is missing for some frames and known before and after them."""

import numpy as np


def fill_gaps(places: np.ndarray, longest: int) -> tuple[np.ndarray, int]:
    """Interpolate every joint over gaps of up to `longest` frames; and how many frames gained.

    places: (T, J, 2), NaN where a joint is missing. What is missing at the beginning or the end
    stays so.
    """
    filled = places.copy()
    for joint in range(places.shape[1]):
        known = np.flatnonzero(np.isfinite(places[:, joint, 0]))
        for before, after in zip(known, known[1:]):
            if 1 < after - before <= longest + 1:
                share = np.linspace(0, 1, after - before + 1)[1:-1, None]
                ends = places[before, joint], places[after, joint]
                filled[before + 1 : after, joint] = ends[0] + share * (ends[1] - ends[0])
    gained = np.isfinite(filled[..., 0]) & ~np.isfinite(places[..., 0])
    return filled, int(gained.any(axis=1).sum())
