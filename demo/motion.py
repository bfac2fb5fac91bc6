"""A seeded dance: a chain of walks and gestures as one smooth motion.

A motion is (T, C): the skeleton's channels at 30 frames a second. Every move below returns such
rows, beginning at the row where the last one ended.
"""

from typing import NamedTuple

import numpy as np

from data.pose.camera import CAMERA
from data.pose.moves import COLUMN, GESTURES, STANDING, both, gesture, rise, turn, walk

SMOOTHING = 3.0  # frames, the standard deviation that rounds the corners between moves
SHORTEST_WALK = 1.1  # meters; a dance should not stay where it began
NEAR = 2.1  # meters from the camera at most, of the goal `nearest`

# Where a dance walks: a shuffled deck, so that every recording of some length has all of it.
GOALS = ("far",) * 6 + ("near",) * 2 + ("outside",)

# What swings to and fro during a gesture: amplitude in degrees.
SWINGS = (
    {},
    {"twist": 22, "look": -10},
    {"tilt": 10},
    {"right_forearm_out": 28},
    {"left_arm_out": 22, "left_forearm_out": 30},
    {"right_arm": 25, "right_forearm": 25, "left_arm": -25, "left_forearm": -25, "twist": 12},
    both(thigh=12, shank=-12),
)


class Repertoire(NamedTuple):
    """What a dance is made of."""

    goals: tuple[str, ...] = GOALS
    gestures: tuple[dict, ...] = GESTURES


EVERYTHING = Repertoire()


def dance(rng, frames, camera=CAMERA):
    """A motion (frames, C) before a camera, sampled by a numpy generator."""
    return dance_of(rng, frames, EVERYTHING, camera)[0]


def dance_of(rng, frames, repertoire, camera=CAMERA):
    """A motion (frames, C) of a repertoire, and how far each frame is into a gesture: (frames,).

    0: walking, turning or standing; 1: the gesture's posture is held.
    """
    place = {"x": rng.uniform(-1.5, 1.5), "z": rng.uniform(4.2, 5.6)}
    start = STANDING | place | {"heading": rng.uniform(-60, 60)}
    moves, held, goals = [], [], []

    def add(rows, amount=0.0):
        moves.append(rows)
        held.append(np.broadcast_to(amount, len(rows)))

    add(*_gesture(rng, np.array(list(start.values())), repertoire.gestures))
    while sum(map(len, moves)) < frames + 4 * SMOOTHING:
        goals = goals or list(rng.permutation(repertoire.goals))
        add(_walk(rng, moves[-1][-1], goals.pop(), camera))
        if _in_view(moves[-1][-1], camera):  # otherwise walk back at once
            add(_face(rng, moves[-1][-1]))
            add(*_gesture(rng, moves[-1][-1], repertoire.gestures))
    motion = _smooth(_with_sway(rng, np.concatenate(moves)))
    return motion[:frames], np.concatenate(held)[:frames]


def _gesture(rng, start, gestures):
    """A gesture out of standing and back, and how far each of its frames is into it."""
    frames = int(rng.integers(44, 84))
    ramp = int(rng.integers(13, 20))
    posture = _mirrored(rng, gestures[rng.integers(len(gestures))])
    swing = _mirrored(rng, SWINGS[rng.integers(len(SWINGS))])
    rows = gesture(start, posture, swing, frames, ramp, period=rng.uniform(22, 40))
    return rows, rise(frames, ramp)


def _mirrored(rng, changes):
    """The changes, or with even odds their mirror image."""
    if rng.random() < 0.5:
        return changes
    swap = {"right": "left", "left": "right"}
    mirrored = {}
    for name, degrees in changes.items():
        side, _, limb = name.partition("_")
        if side in swap:
            mirrored[f"{swap[side]}_{limb}"] = degrees
        else:
            mirrored[name] = -degrees if name in ("tilt", "twist", "look") else degrees
    return mirrored


def _face(rng, start):
    """Turn, mostly towards the camera, at times to its side or away from it."""
    heading = rng.choice([0, 0, 0, 90, -90, 180]) + rng.uniform(-35, 35)
    return turn(start, heading)


def _walk(rng, start, kind, camera):
    """Turn towards another place, of one of the kinds in GOALS, and walk there."""
    here = start[[COLUMN["x"], COLUMN["z"]]]
    there = here
    while np.linalg.norm(there - here) < SHORTEST_WALK:
        there = _goal(rng, kind, here, camera)
    return walk(start, there, speed=rng.uniform(0.040, 0.062))


def _goal(rng, kind, here, camera):
    """A place (x, z) to walk to from `here`; `nearest` is for repertoires of one's own."""
    if kind == "near":
        return np.array([rng.uniform(-0.8, 0.8), rng.uniform(2.3, 3.1)])
    if kind == "nearest" and here[1] > NEAR + SHORTEST_WALK:  # otherwise it is far again
        return np.array([rng.uniform(-0.4, 0.4), rng.uniform(1.5, NEAR)])
    z = rng.uniform(3.7, 6.2)
    if kind == "outside":  # by the farther edge, across the picture
        return np.array([-np.sign(here[0]) * (camera.edge(z) + 0.45), z])
    return np.array([rng.uniform(-0.85, 0.85) * camera.edge(z), z])


def _in_view(row, camera):
    return abs(row[COLUMN["x"]]) < camera.edge(row[COLUMN["z"]])


def _with_sway(rng, motion):
    """Add the small slow movements of a body that stands."""
    time = np.arange(len(motion))
    sway = {"tilt": 1.2, "lean": 1.0, "look": 6.0, "nod": 3.0, "x": 0.012, "z": 0.012}
    sway |= both(arm=2.0, forearm=3.0)
    for name, amplitude in sway.items():
        turns = time / rng.uniform(45, 110) + rng.random()
        motion[:, COLUMN[name]] += amplitude * np.sin(2 * np.pi * turns)
    return motion


def _smooth(motion):
    """Round the corners in time with a Gaussian of SMOOTHING frames."""
    reach = round(4 * SMOOTHING)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / SMOOTHING) ** 2)
    weights /= weights.sum()
    padded = np.pad(motion, ((reach, reach), (0, 0)), mode="edge")
    return sum(w * padded[i : i + len(motion)] for i, w in enumerate(weights))
