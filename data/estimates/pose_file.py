"""`.pose` files of sign-language tools, of MediaPipe's or OpenPose's points, by pose-format.

Its reader of OpenPose's folders is not used: it knows BODY_25 with hands and face alone, and takes
the points of other formats for one another.
"""

from pathlib import Path

import numpy as np

from core.errors import UserError
from data.estimates.keypoints import Estimates, order_of, people_of, person_of

COMPONENTS = ("POSE_LANDMARKS", "pose_keypoints_2d", "BODY_135")  # that hold a whole body


def read(path: Path) -> Estimates:
    """Read a file. Raises ValueError for one without a body."""
    try:
        from pose_format import Pose
    except ImportError:
        raise UserError(f"--poses {path}: pip install pose-format, which reads .pose") from None
    try:
        pose = Pose.read(path.read_bytes())
    except Exception as error:  # what it raises on damaged files is not told anywhere
        raise ValueError(f"not a .pose file ({error})") from None
    component = next((c for c in pose.header.components if c.name in COMPONENTS), None)
    if component is None:
        names = ", ".join(c.name for c in pose.header.components)
        raise ValueError(f"holds {names}, no body")
    first = next(
        sum(len(c.points) for c in pose.header.components[:index])
        for index, c in enumerate(pose.header.components)
        if c is component
    )
    points = slice(first, first + len(component.points))
    places = np.ma.filled(pose.body.data[:, :, points, :2].astype(float), np.nan)
    confidence = pose.body.confidence[:, :, points, None]
    keypoints = np.concatenate([places, confidence], axis=-1)  # (T, people, K, 3)
    order = order_of(component.points)
    frames = {
        number: people_of(person_of(person, order) for person in people)
        for number, people in enumerate(keypoints)
    }
    return Estimates("pose-format", frames, len(frames))
