"""One person out of what an estimator saw: chosen, followed over the frames, mended.

Dimensions: T frames, J joints. Places (T, J, 2), NaN where a joint was not found.
"""

from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from core.errors import UserError
from data.estimates.keypoints import FEWEST, Estimates, Person
from data.pose.gaps import fill_gaps
from data.pose.skeleton import JOINT, JOINTS, SIDES

FARTHEST = 0.6  # of a person's size that somebody moves from a frame to the next, at most
SMALL = 0.4  # of the largest person's size, below which somebody is not the one to follow
PAIRED = {  # joints whose sides are swapped together; those of a face lie too near to tell
    "arms": ("shoulder", "elbow", "wrist", "hand"),
    "legs": ("hip", "knee", "ankle", "heel", "toe"),
}
SWAPPED_COST = 0.01  # of a person's size, for a frame whose sides are taken for swapped


def follow_person(estimates: Estimates, path: Path, args: Namespace) -> np.ndarray:
    """Return the places of whom the flags choose, in all frames that are known, (T, J, 2).

    Raises UserError where nobody is sure enough.
    """
    places = follow(
        estimates, estimates.known_length, confidence=args.confidence, person=args.person
    )
    if not np.isfinite(places).any():
        raise UserError(
            f"--poses {path}: nobody with a confidence of {args.confidence}; lower --confidence"
        )
    return places


def follow(
    estimates: Estimates, length: int, *, confidence: float = 0.0, person: int | None = None
) -> np.ndarray:
    """Return the places of one person, (length, J, 2) float32.

    The largest one of the first frame with people, or, counted from 1, number `person` from the
    left in the first frame with as many; afterwards whoever is nearest to where they were, with
    the same track where the estimator tracks. Without `person`, whoever is much larger takes over,
    and the largest one where nobody is near.
    """
    places = np.full((length, len(JOINTS), 2), np.nan, np.float32)
    last: Person | None = None
    age = 0  # frames since then
    for number in range(length):
        people = list(_sure(estimates.frames.get(number, ()), confidence))
        age += 1
        if person is not None and last is None and len(people) < person:
            continue
        if (chosen := _choose(people, last, age, person)) is not None:
            places[number], last, age = chosen.places, chosen, 0
    if person is not None and last is None:
        most = max(map(len, estimates.frames.values()))
        raise UserError(f"--person {person}: no frame has more than {most} people")
    return places


def _sure(people, confidence: float) -> Iterator[Person]:
    """Leave out the joints of too little confidence, and who is then too little to see."""
    for someone in people:
        unsure = someone.confidence < confidence
        kept = someone._replace(places=np.where(unsure[:, None], np.nan, someone.places))
        if kept.found.sum() >= FEWEST:
            yield kept


def _choose(people: list[Person], last: Person | None, age: int, person: int | None):
    """Return the one to follow, or None."""
    if not people:
        return None
    if last is None:
        if person is None:
            return max(people, key=lambda someone: someone.size)
        return sorted(people, key=lambda someone: np.nanmean(someone.places[:, 0]))[person - 1]
    same = [p for p in people if p.track is not None and p.track == last.track]
    if same:
        return same[0]
    nearest = min(people, key=lambda someone: _distance(someone, last))
    if person is not None:
        return nearest
    largest = max(people, key=lambda someone: someone.size)
    near = _distance(nearest, last) <= FARTHEST * max(last.size, 1e-6) * age
    return nearest if near and nearest.size > SMALL * largest.size else largest


def _distance(one: Person, other: Person) -> float:
    """How far apart two people are, over the joints that both have; pixels."""
    both = one.found & other.found
    if not both.any():
        return float(np.linalg.norm(np.nanmean(one.places, 0) - np.nanmean(other.places, 0)))
    return float(np.linalg.norm(one.places[both] - other.places[both], axis=1).mean())


def sizes_of(places: np.ndarray) -> np.ndarray:
    """The diagonal of the box around each frame's joints, (T,); NaN where nobody is."""
    with np.errstate(invalid="ignore"):
        low = np.fmin.reduce(places, axis=1, initial=np.inf)
        high = np.fmax.reduce(places, axis=1, initial=-np.inf)
    sizes = np.hypot(*(high - low).T)
    return np.where(np.isfinite(sizes), sizes, np.nan)


def swap_back(places: np.ndarray) -> tuple[np.ndarray, int]:
    """Swap sides back where an estimator has swapped them for some frames; and in how many.

    Over arms and legs each, the labels of all frames are chosen together (Viterbi): joints
    shall move little, and labels shall be those of the estimator. So a passing swap is mended,
    and somebody who turns around is left as they are.
    """
    mended, touched = places.copy(), np.zeros(len(places), bool)
    typical = np.nanmedian(sizes_of(places))
    for names in PAIRED.values():
        sides = [[JOINT[f"{name}_{side}"] for name in names] for side in SIDES]
        right, left = sides[0] + sides[1], sides[1] + sides[0]
        labels = np.stack([places[:, right], places[:, left]])  # (2, T, joints, 2)
        swapped = _fewest_jumps(labels, SWAPPED_COST * typical)
        mended[np.ix_(swapped, right)] = places[np.ix_(swapped, left)]
        touched |= swapped
    return mended, int(touched.sum())


def _fewest_jumps(labels: np.ndarray, cost: float) -> np.ndarray:
    """Return which frames to take from labels[1] rather than labels[0]: (T,) bool.

    A frame without the joints keeps the last places, so that a swap is seen over a gap.
    """
    T = labels.shape[1]
    total, came_from = np.array([0.0, cost]), np.zeros((T, 2), int)
    last = labels[:, 0].copy()
    for t in range(1, T):
        now = labels[:, t]
        # (2 before, 2 now, joints): how far each joint would have moved
        moved = np.linalg.norm(now[None] - last[:, None], axis=-1)
        known = np.isfinite(moved)
        sums = np.where(known, moved, 0).sum(-1) / np.maximum(known.sum(-1), 1)
        reached = total[:, None] + sums + np.array([0.0, cost])
        came_from[t] = reached.argmin(axis=0)
        total = reached.min(axis=0)
        last = np.where(np.isfinite(now), now, last[came_from[t]])
    chosen = np.zeros(T, int)
    chosen[-1] = total.argmin()
    for t in range(T - 1, 0, -1):
        chosen[t - 1] = came_from[t, chosen[t]]
    # The labels of a frame without any of the joints say nothing.
    return (chosen == 1) & np.isfinite(labels[0, :, :, 0]).any(axis=1)


class Mending(NamedTuple):
    """What was done to the poses of a film, in frames."""

    swapped: int = 0
    filled: int = 0
    lost: int = 0

    def said(self) -> str:
        parts = [f"{self.lost} frames without the person left out"]
        parts += [f"joints filled in in {self.filled}"] if self.filled else []
        parts += [f"sides swapped back in {self.swapped}"] if self.swapped else []
        return ", ".join(parts)


def mended(places: np.ndarray, args: Namespace) -> tuple[np.ndarray, Mending]:
    """Swap sides back and fill gaps in the poses (T, J, 2) of a recording."""
    swapped = 0
    if not args.keep_sides and np.isfinite(places).any():
        places, swapped = swap_back(places)
    places, filled = fill_gaps(places, args.fill)
    return places, Mending(swapped, filled)
