"""What a pose estimator would write of a dancer, OpenPose for one: with its noise and its errors.

Every joint wavers; now and then a limb is lost for some frames, the sides of arms or legs are
swapped, and something in the room is taken for a small person.
"""

import json

import numpy as np

from data.pose.camera import CAMERA
from data.pose.picture import face_seen
from data.pose.skeleton import JOINT, SIDES

# OpenPose's order, BODY_25. Written down here a second time, so that what reads it is tested.
BODY_25 = (
    *("nose", "neck", "shoulder_right", "elbow_right", "wrist_right", "shoulder_left"),
    *("elbow_left", "wrist_left", "mid_hip", "hip_right", "knee_right", "ankle_right"),
    *("hip_left", "knee_left", "ankle_left", "eye_right", "eye_left", "ear_right", "ear_left"),
    *("toe_left", "small_toe_left", "heel_left", "toe_right", "small_toe_right", "heel_right"),
)
WAVER = 0.006  # of the picture's height: standard deviation of a joint's place
LOSE = (  # joints that are lost together
    *[(f"wrist_{side}", f"hand_{side}") for side in SIDES],
    *[(f"elbow_{side}", f"wrist_{side}", f"hand_{side}") for side in SIDES],
    *[(f"toe_{side}", f"heel_{side}", f"ankle_{side}") for side in SIDES],
    *[(f"knee_{side}", f"ankle_{side}", f"toe_{side}", f"heel_{side}") for side in SIDES],
)
SWAP = (("elbow", "wrist", "hand"), ("knee", "ankle", "toe", "heel"))
# Chances in a frame that an error begins, and how many frames it lasts at most.
LOSE_CHANCE, LOSE_FRAMES = 0.02, 12
SWAP_CHANCE, SWAP_FRAMES = 0.01, 5
GHOST_CHANCE, GHOST_FRAMES = 0.01, 6


def estimated(rng, joints, camera=CAMERA):
    """Yield the JSON file of every frame of a dance, joints (T, J, 3)."""
    names = list(JOINT)
    places = camera.project(joints)
    places = places + rng.normal(0, WAVER * camera.height, places.shape)
    lost = _spells(rng, len(joints), LOSE, LOSE_CHANCE, LOSE_FRAMES)
    swapped = _spells(rng, len(joints), SWAP, SWAP_CHANCE, SWAP_FRAMES)
    ghosts = _spells(rng, len(joints), ("ghost",), GHOST_CHANCE, GHOST_FRAMES)
    for t, world in enumerate(joints):
        place = dict(zip(names, places[t]))
        sure = dict(zip(names, rng.uniform(0.55, 0.95, len(names))))
        seen = {name for limb in face_seen(world) for name in limb[:2]}
        hidden = {f"{part}_{side}" for part in ("eye", "ear") for side in SIDES} | {"nose"}
        for name in hidden - seen:
            sure[name] = 0.0
        for group in swapped[t]:
            for name in group:
                one, other = (f"{name}_{side}" for side in SIDES)
                place[one], place[other] = place[other], place[one]
        for name in (name for group in lost[t] for name in group):
            sure[name] = rng.choice([0.0, rng.uniform(0.02, 0.15)])
            place[name] = place[name] + rng.normal(0, 0.05 * camera.height, 2)
        people = [_person(place, sure, camera)]
        people += [_person(*_ghost(rng, place), camera) for _ in ghosts[t]]
        people = [person for person in people if any(person["pose_keypoints_2d"])]
        yield json.dumps({"version": 1.3, "people": people})


def _spells(rng, frames, kinds, chance, longest):
    """Return for every frame which of the kinds go on in it."""
    going = [[] for _ in range(frames)]
    for start in np.flatnonzero(rng.random(frames) < chance):
        kind = kinds[rng.integers(len(kinds))]
        for t in range(start, min(frames, start + int(rng.integers(1, longest + 1)))):
            if kind not in going[t]:
                going[t].append(kind)
    return going


def _ghost(rng, place):
    """A picture on the wall that looks like somebody: places and confidences."""
    small = {name: 0.2 * (p - place["mid_hip"]) + rng.normal(30, 1, 2) for name, p in place.items()}
    return small, dict.fromkeys(place, 0.3)


def _person(place, sure, camera):
    numbers = []
    for name in BODY_25:
        x, y = place.get(name, (-1, -1))
        inside = 0 <= x < camera.width and 0 <= y < camera.height
        found = inside and sure.get(name, 0) > 0
        numbers += (
            [round(float(x), 3), round(float(y), 3), round(sure[name], 4)] if found else [0] * 3
        )
    return {"person_id": [-1], "pose_keypoints_2d": numbers}
