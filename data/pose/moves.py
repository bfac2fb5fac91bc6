"""Moves: postures, gestures, turns and walks out of which a dance is made.

A motion is (T, C): the skeleton's channels at 30 frames a second. Every move returns such rows,
beginning at the row `start` where the last one ended. They are the demo's, and the player's.
"""

import numpy as np

from data.pose.skeleton import CHANNELS, SIDES

COLUMN = {name: column for column, name in enumerate(CHANNELS)}
STRIDE = 1.35  # meters of two steps

STANDING = dict.fromkeys(CHANNELS, 0.0) | {
    f"{side}_{limb}": degrees
    for side in SIDES
    for limb, degrees in {
        **{"arm": 2.0, "arm_out": 13.0, "forearm": 14.0, "forearm_out": 8.0},
        **{"thigh": 2.0, "thigh_out": 5.0, "shank": -3.0},
    }.items()
}


def both(**limbs):
    """The same degrees for both sides."""
    return {f"{side}_{limb}": degrees for side in SIDES for limb, degrees in limbs.items()}


KNEEL = {
    **{"lean": 12, "right_thigh": 86, "right_shank": -4, "left_thigh": -8, "left_shank": -84},
    **{"left_foot": 62, "right_arm": 45, "right_forearm": 80},
}
# What a gesture changes of STANDING. One that is not the same on both sides is also done mirrored.
GESTURES = (
    both(arm_out=90, forearm_out=90),  # arms to the sides
    both(arm=8, arm_out=160, forearm_out=172),  # arms up
    both(arm=88, arm_out=4, forearm=92, forearm_out=2),  # arms forward
    both(arm_out=88, forearm_out=178),  # strong man
    both(arm=-18, arm_out=48, forearm=28, forearm_out=-42),  # hands on the hips
    both(arm_out=105, forearm_out=222),  # hands on the head
    {"right_arm_out": 165, "right_forearm_out": 170, "left_arm_out": 60, "left_forearm_out": 60},
    {"right_arm_out": 100, "right_forearm_out": 115, "tilt": -14},
    {"lean": 68, "nod": 20} | both(arm=35, forearm=30, thigh=-8, shank=-8),  # bow
    {"lean": 38} | both(arm=70, forearm=85, thigh=95, thigh_out=16, shank=-42),  # squat
    KNEEL,
    {"lean": 18, "right_thigh": 62, "right_shank": -10, "left_thigh": -38, "left_shank": -58}
    | {"left_foot": 45},  # lunge
    {"right_thigh": 84, "right_shank": -6} | both(arm_out=55, forearm_out=60),  # knee up
    {"right_thigh_out": 42, "tilt": 16} | both(arm_out=75, forearm_out=80),  # leg to the side
)


def rows(start, frames, changes):
    """Standing where `start` is, with changes (numbers or (frames,) by channel): (frames, C)."""
    place = {name: start[COLUMN[name]] for name in ("x", "z", "heading")}
    values = STANDING | place | changes
    return np.stack([np.broadcast_to(value, frames) for value in values.values()], axis=1)


def rise(frames, ramp):
    """0 to 1, held, and back to 0, with eased ramps of so many frames: (frames,)."""
    edge = np.minimum(np.arange(frames), np.arange(frames)[::-1]) / ramp
    return ease(edge)


def ease(progress):
    return 0.5 - 0.5 * np.cos(np.pi * np.clip(progress, 0, 1))


def gesture(start, posture, swing, frames, ramp, period):
    """A posture out of standing and back, with a swing of so many frames a beat: (frames, C).

    posture and swing, degrees by channel; `ramp` frames to get there and as many to come back.
    """
    amount = rise(frames, ramp)
    beat = np.sin(2 * np.pi * np.arange(frames) / period)
    changes = {}
    for name in {**posture, **swing}:
        held = posture.get(name, STANDING[name]) - STANDING[name]
        changes[name] = STANDING[name] + amount * (held + swing.get(name, 0.0) * beat)
    return rows(start, frames, changes)


def turn(start, heading):
    """Turn on the spot, the shorter way, with small steps."""
    before = start[COLUMN["heading"]]
    angle = (heading - before + 180) % 360 - 180
    frames = 6 + round(abs(angle) / 7)
    progress = np.arange(1, frames + 1) / frames
    phase = 2 * np.pi * progress * max(1, round(abs(angle) / 90))
    turning = {"heading": before + angle * ease(progress), "look": 0.12 * angle * rise(frames, 6)}
    return rows(start, frames, turning | steps(phase, 0.35 * rise(frames, 5)))


def walk(start, there, speed):
    """Turn towards another place (x, z) and walk there, at `speed` meters a frame."""
    here = start[[COLUMN["x"], COLUMN["z"]]]
    dx, dz = there - here
    turned = turn(start, np.degrees(np.arctan2(dx, -dz)))

    distance = np.hypot(dx, dz)
    frames = round(distance / speed)
    progress = np.arange(1, frames + 1) / frames
    phase = 2 * np.pi * progress * max(1, round(distance / STRIDE))
    walking = {"x": here[0] + dx * progress, "z": here[1] + dz * progress, "lean": 4.0}
    walking |= steps(phase, rise(frames, 8))
    return np.concatenate([turned, rows(turned[-1], frames, walking)])


def steps(phase, amount):
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
