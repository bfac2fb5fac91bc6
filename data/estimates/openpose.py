"""OpenPose: a folder with a JSON file for every frame (`--write_json`), or a list of those.

BODY_25, COCO-18 and the 23 keypoints of Everybody Dance Now; of hands, where there are some, the
middle finger. Format: OpenPose, doc/02_output.md.
"""

from collections.abc import Iterable

import numpy as np

from data.estimates.keypoints import (
    BODY_23,
    BODY_25,
    COCO_18,
    MIDDLE_FINGER,
    Estimates,
    Person,
    people_of,
    person_of,
)

ORDERS = {75: ("BODY_25", BODY_25), 54: ("COCO-18", COCO_18), 69: ("BODY_23", BODY_23)}
BODY = ("pose_keypoints_2d", "pose_keypoints")  # of today, and of version 0.1


def is_frame(content) -> bool:
    """Tell whether this is the file of a frame, even of one without people."""
    return isinstance(content, dict) and isinstance(content.get("people"), list)


def read(contents: Iterable) -> Estimates:
    """Read the files of all frames, in order. Raises ValueError saying what is wrong where."""
    frames, names = {}, set()
    for number, content in enumerate(contents):
        if not is_frame(content):
            raise ValueError(f"frame {number} has no list of people")
        frames[number] = people_of(_person(person, names) for person in content["people"])
    if len(names) > 1:
        raise ValueError(f"frames of several formats: {', '.join(sorted(names))}")
    everyone = [p.places[p.found] for people in frames.values() for p in people]
    if everyone and (values := np.concatenate(everyone)).min() < 0 and np.abs(values).max() <= 1:
        # --keypoint_scale 4 has the middle of the picture at 0; OpenPose finds nothing outside.
        frames = {
            number: [person._replace(places=(person.places + 1) / 2) for person in people]
            for number, people in frames.items()
        }
    return Estimates(f"OpenPose {''.join(names)}".strip(), frames, len(frames))


def _person(content: dict, names: set[str]) -> Person | None:
    body = next((content[key] for key in BODY if key in content), None)
    if body is None:
        raise ValueError(f"a person without {BODY[0]}")
    flat = np.asarray(body, float).reshape(-1)
    if not len(flat):
        return None
    if len(flat) not in ORDERS:
        raise ValueError(
            f"{BODY[0]} has {len(flat)} numbers, not 75 (BODY_25), 54 (COCO-18) or 69 (BODY_23)"
        )
    name, order = ORDERS[len(flat)]
    names.add(name)
    keypoints = flat.reshape(-1, 3)
    for side in ("left", "right"):
        hand = np.asarray(content.get(f"hand_{side}_keypoints_2d") or [], float).reshape(-1)
        if len(hand) == 63:
            keypoints = np.vstack([keypoints, hand.reshape(-1, 3)[MIDDLE_FINGER]])
            order = (*order, f"hand_{side}")
    track = np.asarray(content.get("person_id", [-1])).reshape(-1)
    return person_of(keypoints, order, int(track[0]) if len(track) and track[0] >= 0 else None)
