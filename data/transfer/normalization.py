"""Global pose normalization: a source's dance where a target stands, with the target's limbs.

After Chan et al. 2019, Everybody Dance Now, appendix: the ankles' range from the farthest to the
nearest place is mapped onto the target's, and the body is scaled by the ratio of heights there.
Otherwise than there, heights are lines over the ankles' place in both (which is what perspective
makes of them) and their ratio is taken in every frame; a source who hardly moves to and fro is not
flung across the target's room; a jump stays one; and limbs get the target's lengths.
"""

from typing import NamedTuple

import numpy as np

from data.pose.bones import resized
from data.pose.skeleton import JOINT
from data.transfer.stance import Stance, floor_under, lowest_ankle, measure

AT_MOST = 1.6  # that a limb is made longer than the body, or the inverse


class Transferred(NamedTuple):
    """A dance in the target's picture."""

    places: np.ndarray  # (T, J, 2)
    narrowed: float  # share of the movement to the sides that the picture has room for
    scale: np.ndarray  # (T,) pixels of the target's picture in one of the source's
    factors: dict[str, float]  # what bones were lengthened by besides, by kind


def transfer(source: np.ndarray, target: Stance, width: int, whose: str) -> Transferred:
    """Bring a dance (T, J, 2), in pixels of its own video, into the target's picture.

    width: of that picture. Raises UserError, naming `whose` poses, where nobody's feet are seen.
    """
    stance = measure(source, whose)
    floor = floor_under(source, stance)
    ground = _onto_floor(floor, stance, target)
    scale = target.height_at(ground) / stance.height_at(floor)
    hips = _steady(source[:, JOINT["mid_hip"], 0])
    aside = (hips - (stance.left + stance.right) / 2) * scale
    narrowed, middle = _room_aside(aside, target, width)
    anchor = np.stack([middle + narrowed * aside, ground], axis=1)  # of the hips, on the floor

    places = (source - np.stack([hips, floor], axis=1)[:, None]) * scale[:, None, None]
    places += anchor[:, None]
    factors = {
        kind: float(np.clip(target.lengths[kind] / length, 1 / AT_MOST, AT_MOST))
        for kind, length in stance.lengths.items()
        if kind in target.lengths
    }
    longer = resized(places, factors)
    longer[..., 1] += _steady(lowest_ankle(places) - lowest_ankle(longer))[:, None]
    return Transferred(longer, narrowed, scale, factors)


def _onto_floor(floor: np.ndarray, source: Stance, target: Stance) -> np.ndarray:
    """Map the floor under a source onto the target's, (T,)."""
    middle = (source.far + source.near) / 2
    there = (target.far + target.near) / 2
    natural = target.height_at(np.array(there)) / source.height_at(np.array(middle))
    reach = (target.near - target.far) / max(source.near - source.far, 1e-6)
    mapped = there + (floor - middle) * min(reach, float(natural))
    return np.clip(mapped, target.far, target.near)


def _room_aside(aside: np.ndarray, target: Stance, width: int) -> tuple[float, float]:
    """Which share of the way aside fits into the picture, and around which x."""
    reach = float(np.quantile(np.abs(aside), 0.98))
    left, right = min(target.left, 0.1 * width), max(target.right, 0.9 * width)
    room = (right - left) / 2
    share = min(1.0, room / reach) if reach > 0 else 1.0
    middle = np.clip((target.left + target.right) / 2, left + share * reach, right - share * reach)
    return share, float(middle)


def _steady(values: np.ndarray) -> np.ndarray:
    """Fill in unknown values (NaN) from those before and after."""
    known = np.flatnonzero(np.isfinite(values))
    if not len(known):
        return np.zeros_like(values)
    return np.interp(np.arange(len(values)), known, values[known])
