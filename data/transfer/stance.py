"""How somebody stands before a camera: where on the floor, how tall there, with which limbs.

Dimensions: T frames, J joints. Places (T, J, 2) in pixels, y down, NaN where a joint is not known.
"""

from dataclasses import dataclass

import numpy as np

from core.errors import UserError
from data.pose.bones import BONES, KIND, KINDS
from data.pose.skeleton import JOINT, JOINTS, SIDES

ENDS = (2, 98)  # percentiles: the farthest and the nearest place on the floor
UPRIGHT = 0.8  # quantile of heights at a distance that is taken for a body upright,
STRETCHED = 0.8  # and of lengths that is taken for a bone across the view
STEADY = 31  # frames over which the floor under somebody is a median: a jump takes fewer than half
FEWEST = 10  # frames with both feet
ROUNDS = 30  # of the fit of heights
SIZED = ("neck", "elbow", "wrist", "knee", "ankle")  # bones long enough to tell the size
ANKLES = [JOINT[f"ankle_{side}"] for side in SIDES]


@dataclass(frozen=True)
class Stance:
    """Measured over a recording. Under a camera that stands still all heights lie on a line."""

    far: float  # y of the ankles at the farthest, and at the nearest
    near: float
    far_height: float  # pixels of the body there
    near_height: float
    left: float  # x of the hips at the ends of their range
    right: float
    lengths: dict[str, float]  # of bones by kind, in heights of the body

    def height_at(self, y):
        """Height of the body in pixels, its ankles at y."""
        if self.near - self.far < 1e-6:
            return np.full_like(y, self.near_height)
        share = (y - self.far) / (self.near - self.far)
        height = self.far_height + share * (self.near_height - self.far_height)
        return np.maximum(height, 0.3 * self.far_height)  # beyond the ends a line may run to 0

    def floor_of(self, height):
        """The y of the ankles of a body that is seen so tall."""
        if self.near_height - self.far_height < 1e-6:
            return np.where(np.isfinite(height), self.near, np.nan)
        share = (height - self.far_height) / (self.near_height - self.far_height)
        return self.far + share * (self.near - self.far)


def measure(places: np.ndarray, whose: str) -> Stance:
    """Measure a recording, where both feet are in the picture.

    Raises UserError, saying `whose` it is, where that is hardly ever so.
    """
    standing = _standing(places)
    bodies = body_heights(places)
    known = standing & np.isfinite(bodies)
    if known.sum() < FEWEST:
        raise UserError(
            f"{whose}: feet, legs and trunk are seen together in {known.sum()} frames; the whole "
            f"body must be in the picture in {FEWEST} at least, to know where and how tall it is"
        )
    floor = _steadied(np.where(standing, lowest_ankle(places), np.nan))
    far, near = np.percentile(floor[known], ENDS)
    level, slope = _upper_line(floor[known], bodies[known])
    far_height, near_height = level + slope * far, level + slope * near
    if slope < 0 or far_height < 0.2 * near_height or near - far < 0.03 * near_height:
        # Who is nearer is taller; what the line says else is noise on one distance.
        far_height = near_height = float(np.quantile(bodies[known], UPRIGHT))
    hips = places[:, JOINT["mid_hip"], 0]
    left, right = np.percentile(hips[np.isfinite(hips)], ENDS)
    stance = Stance(*map(float, (far, near, far_height, near_height, left, right)), {})
    lengths = _lengths(places[standing], stance.height_at(floor[standing]))
    return Stance(**vars(stance) | {"lengths": lengths})


def floor_under(places: np.ndarray, stance: Stance) -> np.ndarray:
    """The y of the ankles on the floor, (T,), steadied in time.

    Where a foot is not seen, as of somebody near the camera, the size of what is seen tells.
    """
    bones = [(KIND[JOINTS[joint]], joint, parent) for joint, parent in BONES]
    sizes = [
        np.linalg.norm(places[:, joint] - places[:, parent], axis=1) / stance.lengths[kind]
        for kind, joint, parent in bones
        if kind in SIZED and kind in stance.lengths
    ]
    guessed = stance.floor_of(np.fmax.reduce(sizes))
    return _steadied(np.where(_standing(places), lowest_ankle(places), guessed))


def _standing(places: np.ndarray) -> np.ndarray:
    """Tell in which frames both ankles are seen, (T,)."""
    return np.isfinite(places[:, ANKLES, 1]).all(axis=1)


def _steadied(values: np.ndarray) -> np.ndarray:
    """Interpolate what is not known (NaN), and take medians over STEADY frames."""
    known = np.flatnonzero(np.isfinite(values))
    whole = np.interp(np.arange(len(values)), known, values[known])
    padded = np.pad(whole, STEADY // 2, mode="edge")
    return np.median(np.lib.stride_tricks.sliding_window_view(padded, STEADY), axis=1)


def lowest_ankle(places: np.ndarray) -> np.ndarray:
    """The y of the lower ankle in the picture, (T,); NaN where none is known."""
    return np.fmax.reduce(places[:, ANKLES, 1], axis=1)


def body_heights(places: np.ndarray) -> np.ndarray:
    """Thigh, shank and trunk as they are seen, (T,): of the longer leg; NaN where not known."""

    def length(start: str, end: str) -> np.ndarray:
        return np.linalg.norm(places[:, JOINT[start]] - places[:, JOINT[end]], axis=1)

    legs = [length(f"hip_{s}", f"knee_{s}") + length(f"knee_{s}", f"ankle_{s}") for s in SIDES]
    return np.fmax(*legs) + length("neck", "mid_hip")


def _upper_line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Level and slope of the line with the share UPRIGHT of all y below it.

    Quantile regression by weighted least squares, repeated.
    """
    A = np.stack([np.ones_like(x), x], axis=1)
    weight = np.ones_like(y)
    spread = max(float(np.ptp(y)), 1e-6)
    line = np.zeros(2)
    for _ in range(ROUNDS):
        root = np.sqrt(weight)[:, None]
        line = np.linalg.lstsq(A * root, y * root[:, 0], rcond=None)[0]
        error = y - A @ line
        side = np.where(error > 0, UPRIGHT, 1 - UPRIGHT)
        weight = side / np.maximum(np.abs(error), 1e-3 * spread)
    return float(line[0]), float(line[1])


def _lengths(places: np.ndarray, heights: np.ndarray) -> dict[str, float]:
    """Lengths of bones by kind as seen across the view, in heights of the body."""
    seen: dict[str, list[np.ndarray]] = {kind: [] for kind in KINDS}
    for joint, parent in BONES:
        length = np.linalg.norm(places[:, joint] - places[:, parent], axis=1) / heights
        if len(length := length[np.isfinite(length)]) >= FEWEST:
            seen[KIND[JOINTS[joint]]].append(np.quantile(length, STRETCHED))
    return {kind: float(np.mean(found)) for kind, found in seen.items() if found}
