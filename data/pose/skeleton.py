"""The skeleton: from the channels of a motion to the places of 25 joints.

World axes, in meters: x to the right of the picture, y up from the floor, z away from the camera.
Body axes: left, up, forward. A body of heading 0 faces the camera; 90 faces the picture's right.
Sizes: T frames, J joints (25).
"""

import numpy as np

SIDES = ("right", "left")
BODY_CHANNELS = ("x", "z", "heading", "lean", "tilt", "twist", "look", "nod")
LIMB_CHANNELS = ("arm", "arm_out", "forearm", "forearm_out", "thigh", "thigh_out", "shank", "foot")
# Places in meters, all others in degrees. `arm`, `thigh`, … swing forward from hanging straight
# down, `…_out` swings away from the body.
CHANNELS = BODY_CHANNELS + tuple(f"{side}_{limb}" for side in SIDES for limb in LIMB_CHANNELS)

HEAD_JOINTS = ("nose", "eye_right", "eye_left", "ear_right", "ear_left")
LIMB_JOINTS = ("shoulder", "elbow", "wrist", "hand", "hip", "knee", "ankle", "heel", "toe")
JOINTS = (
    *("neck", "mid_hip", *HEAD_JOINTS),
    *(f"{joint}_{side}" for side in SIDES for joint in LIMB_JOINTS),
)
JOINT = {name: index for index, name in enumerate(JOINTS)}

# Lengths in meters, of an adult of 1.75 m.
SPINE, SHOULDER, UPPER_ARM, FOREARM, HAND = 0.50, 0.19, 0.29, 0.26, 0.13
HIP, THIGH, SHANK, HEEL_DROP, HEEL_BACK, FOOT = 0.10, 0.43, 0.43, 0.06, 0.05, 0.19
KNEE_THICKNESS, SOLE_THICKNESS = 0.07, 0.03


def joints_of(motion):
    """Place the joints for a motion.

    motion: (T, len(CHANNELS)). Returns (T, J, 3) in world meters, the lowest foot or knee of every
    frame resting on the floor.
    """
    channel = dict(zip(CHANNELS, motion.T, strict=True))
    angle = {name: np.radians(values) for name, values in channel.items()}
    body = _body_joints(angle)
    body = np.stack([body[name] for name in JOINTS], axis=1)  # (T, J, 3)

    left, forward = horizontal(angle["heading"])
    world = body[..., :1] * left[:, None] + body[..., 2:] * forward[:, None]
    world[..., 1] = body[..., 1]

    world[..., 0] += channel["x"][:, None]
    world[..., 2] += channel["z"][:, None]
    world[..., 1] -= lowest(world)[:, None]
    return world


def lowest(world):
    """Height of the underside of the body in every frame: (T,)."""
    feet = [JOINT[f"{joint}_{side}"] for joint in ("heel", "toe") for side in SIDES]
    knees = [JOINT[f"knee_{side}"] for side in SIDES]
    sole = world[:, feet, 1].min(axis=1) - SOLE_THICKNESS
    return np.minimum(sole, world[:, knees, 1].min(axis=1) - KNEE_THICKNESS)


def _body_joints(angle):
    """Joints by name, each (T, 3) in body axes around the mid-hip."""
    frames = len(angle["x"])
    joints = {"mid_hip": np.zeros((frames, 3))}
    joints["neck"] = -SPINE * direction(-angle["lean"], angle["tilt"], -1)  # hangs upwards
    joints |= _head(joints["neck"], angle)

    chest_left = _turned(np.cos(angle["tilt"]), -np.sin(angle["tilt"]), 0.0, angle["twist"])
    for side, sign in zip(SIDES, (-1, 1), strict=True):
        swing = {limb: angle[f"{side}_{limb}"] for limb in LIMB_CHANNELS}
        arm = _arm(joints["neck"] + sign * SHOULDER * chest_left, sign, swing)
        leg = _leg(np.full((frames, 3), (sign * HIP, 0.0, 0.0)), sign, swing)
        joints |= {f"{name}_{side}": place for name, place in (arm | leg).items()}
    return joints


def _head(neck, angle):
    """Nose, eyes and ears by name, each (T, 3)."""
    yaw = angle["twist"] + angle["look"]
    nod = angle["nod"] + 0.5 * angle["lean"]
    forward = _turned(0.0, -np.sin(nod), np.cos(nod), yaw)
    up = _turned(np.sin(angle["tilt"]), np.cos(nod), np.sin(nod), yaw)
    left = _turned(1.0, 0.0, 0.0, yaw)
    center = neck + 0.19 * up + 0.02 * forward
    joints = {"nose": center + 0.12 * forward - 0.01 * up}
    for side, sign in zip(SIDES, (-1, 1), strict=True):
        joints[f"eye_{side}"] = center + 0.09 * forward + sign * 0.04 * left + 0.035 * up
        joints[f"ear_{side}"] = center + sign * 0.10 * left
    return joints


def _arm(shoulder, sign, swing):
    along_forearm = direction(swing["forearm"], swing["forearm_out"], sign)
    elbow = shoulder + UPPER_ARM * direction(swing["arm"], swing["arm_out"], sign)
    wrist = elbow + FOREARM * along_forearm
    hand = wrist + HAND * along_forearm
    return {"shoulder": shoulder, "elbow": elbow, "wrist": wrist, "hand": hand}


def _leg(hip, sign, swing):
    knee = hip + THIGH * direction(swing["thigh"], swing["thigh_out"], sign)
    ankle = knee + SHANK * direction(swing["shank"], 0.6 * swing["thigh_out"], sign)
    # A foot is a leg segment turned by a right angle, its toes a little outward.
    along_foot = direction(np.pi / 2 - swing["foot"], np.full_like(swing["foot"], 0.2), sign)
    under = direction(-swing["foot"], np.zeros_like(swing["foot"]), sign)
    heel = ankle + HEEL_DROP * under - HEEL_BACK * along_foot
    return {"hip": hip, "knee": knee, "ankle": ankle, "heel": heel, "toe": heel + FOOT * along_foot}


def direction(swing, out, sign):
    """Unit vectors (T, 3) of a limb swung forward and out; `sign` is +1 for the left side."""
    return np.stack(
        [sign * np.sin(out), -np.cos(out) * np.cos(swing), np.cos(out) * np.sin(swing)], axis=-1
    )


def _turned(left, up, forward, yaw):
    """The vector (left, up, forward) turned to the body's left by `yaw`: (T, 3)."""
    up = np.broadcast_to(up, np.shape(yaw))
    turned_left = left * np.cos(yaw) + forward * np.sin(yaw)
    return np.stack([turned_left, up, forward * np.cos(yaw) - left * np.sin(yaw)], axis=-1)


def horizontal(heading):
    """World vectors of the body's left and forward: twice (T, 3)."""
    zero = np.zeros_like(heading)
    left = np.stack([np.cos(heading), zero, np.sin(heading)], axis=-1)
    forward = np.stack([np.sin(heading), zero, -np.cos(heading)], axis=-1)
    return left, forward
