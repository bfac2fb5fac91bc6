"""A seeded dance: a chain of walks and gestures as one smooth motion.

A motion is (T, C): the skeleton's channels at 30 frames a second. Every move below returns such
rows, beginning at the row where the last one ended.
"""

import numpy as np

from demo.scene import FOCAL, WIDTH
from demo.skeleton import CHANNELS, SIDES

COLUMN = {name: column for column, name in enumerate(CHANNELS)}
SMOOTHING = 3.0  # frames, the standard deviation that rounds the corners between moves
STRIDE = 1.35  # meters of two steps
SHORTEST_WALK = 1.1  # meters; a dance should not stay where it began

STANDING = dict.fromkeys(CHANNELS, 0.0) | {
    f"{side}_{limb}": degrees
    for side in SIDES
    for limb, degrees in {
        **{"arm": 2.0, "arm_out": 13.0, "forearm": 14.0, "forearm_out": 8.0},
        **{"thigh": 2.0, "thigh_out": 5.0, "shank": -3.0},
    }.items()
}


def _both(**limbs):
    """The same degrees for both sides."""
    return {f"{side}_{limb}": degrees for side in SIDES for limb, degrees in limbs.items()}


# Where a dance walks: a shuffled deck, so that every recording of some length has all of it.
GOALS = ("far",) * 6 + ("near",) * 2 + ("outside",)

# What a gesture changes of STANDING. One that is not the same on both sides is also done mirrored.
GESTURES = (
    _both(arm_out=90, forearm_out=90),  # arms to the sides
    _both(arm=8, arm_out=160, forearm_out=172),  # arms up
    _both(arm=88, arm_out=4, forearm=92, forearm_out=2),  # arms forward
    _both(arm_out=88, forearm_out=178),  # strong man
    _both(arm=-18, arm_out=48, forearm=28, forearm_out=-42),  # hands on the hips
    _both(arm_out=105, forearm_out=222),  # hands on the head
    {"right_arm_out": 165, "right_forearm_out": 170, "left_arm_out": 60, "left_forearm_out": 60},
    {"right_arm_out": 100, "right_forearm_out": 115, "tilt": -14},
    {"lean": 68, "nod": 20} | _both(arm=35, forearm=30, thigh=-8, shank=-8),  # bow
    {"lean": 38} | _both(arm=70, forearm=85, thigh=95, thigh_out=16, shank=-42),  # squat
    {"lean": 12, "right_thigh": 86, "right_shank": -4, "left_thigh": -8, "left_shank": -84}
    | {"left_foot": 62, "right_arm": 45, "right_forearm": 80},  # kneel
    {"lean": 18, "right_thigh": 62, "right_shank": -10, "left_thigh": -38, "left_shank": -58}
    | {"left_foot": 45},  # lunge
    {"right_thigh": 84, "right_shank": -6} | _both(arm_out=55, forearm_out=60),  # knee up
    {"right_thigh_out": 42, "tilt": 16} | _both(arm_out=75, forearm_out=80),  # leg to the side
)
# What swings to and fro during a gesture: amplitude in degrees.
SWINGS = (
    {},
    {"twist": 22, "look": -10},
    {"tilt": 10},
    {"right_forearm_out": 28},
    {"left_arm_out": 22, "left_forearm_out": 30},
    {"right_arm": 25, "right_forearm": 25, "left_arm": -25, "left_forearm": -25, "twist": 12},
    _both(thigh=12, shank=-12),
)


def dance(rng, frames):
    """A motion (frames, C), sampled by a numpy generator."""
    place = {"x": rng.uniform(-1.5, 1.5), "z": rng.uniform(4.2, 5.6)}
    start = STANDING | place | {"heading": rng.uniform(-60, 60)}
    moves = [_gesture(rng, np.array(list(start.values())))]
    goals = []
    while sum(map(len, moves)) < frames + 4 * SMOOTHING:
        goals = goals or list(rng.permutation(GOALS))
        moves.append(_walk(rng, moves[-1][-1], goals.pop()))
        if _in_view(moves[-1][-1]):  # otherwise walk back at once
            moves.append(_face(rng, moves[-1][-1]))
            moves.append(_gesture(rng, moves[-1][-1]))
    return _smooth(_with_sway(rng, np.concatenate(moves)))[:frames]


def _rows(start, frames, changes):
    """Standing where `start` is, with changes (numbers or (frames,) by channel): (frames, C)."""
    place = {name: start[COLUMN[name]] for name in ("x", "z", "heading")}
    values = STANDING | place | changes
    return np.stack([np.broadcast_to(value, frames) for value in values.values()], axis=1)


def _rise(frames, ramp):
    """0 to 1, held, and back to 0, with eased ramps of so many frames: (frames,)."""
    edge = np.minimum(np.arange(frames), np.arange(frames)[::-1]) / ramp
    return _ease(edge)


def _ease(progress):
    return 0.5 - 0.5 * np.cos(np.pi * np.clip(progress, 0, 1))


def _gesture(rng, start):
    """A gesture out of standing and back."""
    frames = int(rng.integers(44, 84))
    amount = _rise(frames, ramp=int(rng.integers(13, 20)))
    posture = _mirrored(rng, GESTURES[rng.integers(len(GESTURES))])
    swing = _mirrored(rng, SWINGS[rng.integers(len(SWINGS))])
    beat = np.sin(2 * np.pi * np.arange(frames) / rng.uniform(22, 40))
    changes = {}
    for name in {**posture, **swing}:
        held = posture.get(name, STANDING[name]) - STANDING[name]
        changes[name] = STANDING[name] + amount * (held + swing.get(name, 0.0) * beat)
    return _rows(start, frames, changes)


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
    return _turn(start, heading)


def _turn(start, heading):
    """Turn on the spot, the shorter way, with small steps."""
    before = start[COLUMN["heading"]]
    angle = (heading - before + 180) % 360 - 180
    frames = 6 + round(abs(angle) / 7)
    progress = np.arange(1, frames + 1) / frames
    phase = 2 * np.pi * progress * max(1, round(abs(angle) / 90))
    turning = {"heading": before + angle * _ease(progress), "look": 0.12 * angle * _rise(frames, 6)}
    return _rows(start, frames, turning | _steps(phase, 0.35 * _rise(frames, 5)))


def _walk(rng, start, kind):
    """Turn towards another place, of one of the kinds in GOALS, and walk there."""
    here = start[[COLUMN["x"], COLUMN["z"]]]
    there = here
    while np.linalg.norm(there - here) < SHORTEST_WALK:
        there = _goal(rng, kind, here)
    dx, dz = there - here
    turn = _turn(start, np.degrees(np.arctan2(dx, -dz)))

    distance = np.hypot(dx, dz)
    speed = rng.uniform(0.040, 0.062)  # meters a frame
    frames = round(distance / speed)
    progress = np.arange(1, frames + 1) / frames
    phase = 2 * np.pi * progress * max(1, round(distance / STRIDE))
    walking = {"x": here[0] + dx * progress, "z": here[1] + dz * progress, "lean": 4.0}
    walking |= _steps(phase, _rise(frames, 8))
    return np.concatenate([turn, _rows(turn[-1], frames, walking)])


def _goal(rng, kind, here):
    """A place (x, z) to walk to from `here`."""
    if kind == "near":
        return np.array([rng.uniform(-0.8, 0.8), rng.uniform(2.3, 3.1)])
    z = rng.uniform(3.7, 6.2)
    if kind == "outside":  # by the farther edge, across the picture
        return np.array([-np.sign(here[0]) * (_edge(z) + 0.45), z])
    return np.array([rng.uniform(-0.85, 0.85) * _edge(z), z])


def _in_view(row):
    return abs(row[COLUMN["x"]]) < _edge(row[COLUMN["z"]])


def _edge(z):
    """How far to either side the picture reaches at a distance z, in meters."""
    return 0.5 * WIDTH / FOCAL * z


def _steps(phase, amount):
    """Legs and arms of a walk: two steps for every turn of `phase`, scaled by `amount`."""
    changes = {"twist": 7 * amount * np.sin(phase)}
    for side, offset in zip(SIDES, (0, np.pi), strict=True):
        swing = np.sin(phase + offset)
        lifted = np.maximum(0, np.cos(phase + offset))  # the leg that is on its way forward
        thigh = STANDING[f"{side}_thigh"] + amount * (27 * swing + 12 * lifted)
        shank = STANDING[f"{side}_shank"] + amount * (27 * swing - 44 * lifted)
        arm = amount * -27 * swing
        changes |= {
            f"{side}_thigh": thigh,
            f"{side}_shank": shank,
            f"{side}_foot": np.maximum(0, -0.75 * (shank + 8)),
            f"{side}_arm": STANDING[f"{side}_arm"] + arm,
            f"{side}_forearm": STANDING[f"{side}_forearm"] + arm + 8 * amount,
        }
    return changes


def _with_sway(rng, motion):
    """Add the small slow movements of a body that stands."""
    time = np.arange(len(motion))
    sway = {"tilt": 1.2, "lean": 1.0, "look": 6.0, "nod": 3.0, "x": 0.012, "z": 0.012}
    sway |= _both(arm=2.0, forearm=3.0)
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
