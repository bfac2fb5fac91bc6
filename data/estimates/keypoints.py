"""Keypoints as estimators order them, and the joints of `data/pose/skeleton.py` made of them.

Dimensions: K keypoints of a format, J joints. Places are (x, y) in pixels, x to the right and y
down, or shares of the picture; NaN is a joint that was not found.
"""

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from data.pose.skeleton import JOINT, JOINTS

Order = tuple[str | None, ...]  # the joint of every keypoint, None for what we have no use for


def _sides(first: str, *names: str) -> Order:
    """Every name for both sides in turn, beginning with side `first`."""
    second = {"left": "right", "right": "left"}[first]
    return tuple(f"{name}_{side}" for name in names for side in (first, second))


def _limb(side: str, *names: str) -> Order:
    return tuple(f"{name}_{side}" for name in names)


_ARM, _LEG = ("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle")
# OpenPose, doc/02_output.md and poseParameters.cpp: people's right before their left.
COCO_18: Order = (
    *("nose", "neck", *_limb("right", *_ARM), *_limb("left", *_ARM)),
    *(*_limb("right", *_LEG), *_limb("left", *_LEG), *_sides("right", "eye", "ear")),
)
BODY_25: Order = (
    *("nose", "neck", *_limb("right", *_ARM), *_limb("left", *_ARM), "mid_hip"),
    *(*_limb("right", *_LEG), *_limb("left", *_LEG), *_sides("right", "eye", "ear")),
    *("toe_left", None, "heel_left", "toe_right", None, "heel_right"),
)
# The order of Everybody Dance Now's own data: no heels, and eye and ear of a side together.
BODY_23: Order = (
    *("neck", *_limb("right", *_ARM), *_limb("left", *_ARM), "mid_hip"),
    *(*_limb("right", *_LEG, "toe"), None, *_limb("left", *_LEG, "toe"), None),
    *("nose", *_limb("right", "eye", "ear"), *_limb("left", "eye", "ear")),
)
# COCO keypoints: left before right. Halpe-26 and COCO-WholeBody begin with them.
COCO_17: Order = ("nose", *_sides("left", "eye", "ear", *_ARM, *_LEG))
HALPE_26: Order = (
    *(*COCO_17, None, "neck", "mid_hip", *_sides("left", "toe"), None, None),
    *_sides("left", "heel"),
)
MIDDLE_FINGER = 9  # its first joint, of the 21 keypoints of a hand
_HAND_21 = [None] * 21
_HAND_21[MIDDLE_FINGER] = "hand"
WHOLEBODY_133: Order = (
    *(*COCO_17, "toe_left", None, "heel_left", "toe_right", None, "heel_right", *[None] * 68),
    *(name and f"{name}_{side}" for side in ("left", "right") for name in _HAND_21),
)
# MediaPipe: 33 landmarks, left before right; the hand is the knuckle of the index finger.
MEDIAPIPE_33: Order = (
    *("nose", None, "eye_left", None, None, "eye_right", None, *_sides("left", "ear")),
    *(None, None, *_sides("left", *_ARM), None, None, *_sides("left", "hand"), None, None),
    *_sides("left", *_LEG, "heel", "toe"),
)

FEWEST = 4  # joints of a person
# What formats call the number of a frame.
FRAME_NAMES = ("frame", "frame_id", "frame_index", "frame_number", "frame_idx")


class Person(NamedTuple):
    """One person in one frame."""

    places: np.ndarray  # (J, 2), NaN where a joint was not found
    confidence: np.ndarray  # (J,), 0 to 1
    track: int | None = None  # the same number is the same person, where the estimator says so

    @property
    def found(self) -> np.ndarray:
        return np.isfinite(self.places[:, 0])

    @property
    def size(self) -> float:
        """The diagonal of the box around the joints."""
        return float(np.hypot(*np.ptp(self.places[self.found], axis=0)))


@dataclass(frozen=True)
class Estimates:
    """What an estimator wrote: the people of every frame, by the number of the frame."""

    format: str  # its name, for messages
    frames: dict[int, list[Person]]
    length: int | None = None  # frames that were looked at; None: those without people are lacking

    @property
    def known_length(self) -> int:
        """The frames that were looked at, or else those up to the last with people."""
        return self.length or max(self.frames) + 1

    def scaled(self, width: float, height: float) -> "Estimates":
        """Return the same with places multiplied."""
        factor = np.array([width, height])
        frames = {
            number: [person._replace(places=person.places * factor) for person in people]
            for number, people in self.frames.items()
        }
        return Estimates(self.format, frames, self.length)

    @property
    def in_shares(self) -> bool:
        """Tell whether places are shares of the picture, as normalized formats have them.

        No person of a picture in pixels has half of the joints within its first two.
        """
        places = [p.places[p.found] for people in self.frames.values() for p in people[:1]]
        return bool(places) and float(np.median(np.abs(np.concatenate(places)))) < 2


def person_of(keypoints, order: Order, track: int | None = None) -> Person | None:
    """Make a person of keypoints (K, 3), x, y and confidence; None where too little was found.

    Not found is what has a confidence of 0 or less, or lies at (0, 0) or at (-1, -1). Neck and
    mid-hip, where the format or the estimator lacks them, are the middle of shoulders and hips.
    """
    values = np.asarray(keypoints, float)
    x, y, confidence = values.T
    missing = ~np.isfinite(values).all(axis=1) | (confidence <= 0)
    missing |= ((x == 0) & (y == 0)) | ((x == -1) & (y == -1))
    places = np.full((len(JOINTS), 2), np.nan)
    sure = np.zeros(len(JOINTS))
    for index, joint in enumerate(order):
        if joint is not None and not missing[index]:
            places[JOINT[joint]], sure[JOINT[joint]] = values[index, :2], min(confidence[index], 1)
    for middle, joint in (("neck", "shoulder"), ("mid_hip", "hip")):
        if sure[JOINT[middle]] == 0:
            ends = [JOINT[f"{joint}_{side}"] for side in ("right", "left")]
            places[JOINT[middle]] = places[ends].mean(axis=0)
            sure[JOINT[middle]] = sure[ends].min()
    person = Person(places, sure, track)
    return person if person.found.sum() >= FEWEST else None


def people_of(people: Iterable[Person | None]) -> list[Person]:
    return [person for person in people if person is not None]


_PARTS = {
    **{part: part for part in ("nose", "neck", "eye", "ear", "shoulder", "elbow", "wrist")},
    **{part: part for part in ("hand", "hip", "knee", "ankle", "heel", "toe")},
    **{"bigtoe": "toe", "footindex": "toe", "index": "hand", "middlefinger1": "hand"},
    **{"midhip": "mid_hip", "pelvis": "mid_hip"},
}
_SIDE = re.compile(r"^(left|right|l|r)[_ ]?(.+)$|^(.+?)[_ ](left|right|l|r)$")


def _in_words(name: str) -> str:
    """`LEFT_EYE`, `LeftEye` and `left eye` as `left_eye`."""
    name = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=^[LR])(?=[A-Z][a-z])", "_", name.strip())
    return re.sub(r"[\s-]+", "_", name).lower()


def joint_named(name: str) -> str | None:
    """Return the joint that a format calls so: `left_eye`, `LEye`, `eye_left`, `LEFT_EYE`."""
    name = _in_words(name)
    if (part := _PARTS.get(name.replace("_", ""))) in JOINT:
        return part
    if name == "hip":
        return "mid_hip"  # of Halpe-26, which has the sides besides
    if not (match := _SIDE.match(name)):
        return None
    side = (match[1] or match[4])[0]
    joint = _PARTS.get((match[2] or match[3]).replace("_", ""))
    joint = f"{joint}_{'left' if side == 'l' else 'right'}"
    return joint if joint in JOINT else None


# Words in names of points that formats have and no joint of ours is made of.
_UNUSED = {
    *("inner", "outer", "mouth", "lip", "jaw", "brow", "face", "head", "spine", "thorax", "chest"),
    *("pinky", "thumb", "finger", "forefinger", "ring", "middle", "root", "small", "background"),
    *("world", "box", "bbox", "center", "image"),
}


def check_name(name: str, written: str) -> None:
    """Raise ValueError, saying where it is `written`, for a name that no format has.

    A misspelled joint would else be missing, and nobody be told.
    """
    words = {word.rstrip("0123456789") for word in _in_words(name).split("_")}
    if joint_named(name) or words & _UNUSED:
        return
    (nearest,) = difflib.get_close_matches(name.lower(), JOINTS, 1, 0)
    raise ValueError(
        f"{written}: no joint is called {name[:40]!r}, the nearest is {nearest}; rename or "
        "remove it"
    )


def order_of(names: Sequence[str]) -> Order:
    """Return the order of a format that names its keypoints."""
    return tuple(joint_named(str(name)) for name in names)
