"""MediaPipe's 33 pose landmarks as JSON, in any of the ways in which people save its results.

That is a list of frames, or an object of them by number. Wherever in a frame 33 objects with x and
y stand in a list, that is a person; world landmarks are passed over. Landmarks are shares of the
picture. CSV: `data/estimates/table.py`.
"""

from collections.abc import Iterator

from data.estimates.keypoints import FRAME_NAMES, MEDIAPIPE_33, Estimates, people_of, person_of


def read(content) -> Estimates | None:
    """Read what a file holds, None where it has no landmarks."""
    if isinstance(content, dict):
        listed = [value for value in content.values() if isinstance(value, list)]
        if content and all(key.isdecimal() for key in content):
            content = {int(key): frame for key, frame in content.items()}
        elif len(listed) == 1 and not _is_pose(listed[0]):
            content = listed[0]  # {"frames": […]}, perhaps with something about the video
        else:
            return None
    if isinstance(content, list):
        content = {_number(frame, place): frame for place, frame in enumerate(content)}
    poses = {number: list(_poses(frame)) for number, frame in content.items()}
    if not any(poses.values()):
        return None
    frames = {
        number: people_of(person_of(_keypoints(pose), MEDIAPIPE_33) for pose in found)
        for number, found in poses.items()
    }
    return Estimates("MediaPipe", frames, max(frames) + 1)


def _number(frame, place: int) -> int:
    if isinstance(frame, dict):
        return next((frame[key] for key in FRAME_NAMES if isinstance(frame.get(key), int)), place)
    return place


def _is_pose(value) -> bool:
    return (
        isinstance(value, list)
        and len(value) == len(MEDIAPIPE_33)
        and all(isinstance(landmark, dict) and {"x", "y"} <= landmark.keys() for landmark in value)
    )


def _poses(value) -> Iterator[list]:
    """Yield every pose in a frame, however deep."""
    if _is_pose(value):
        yield value
    elif isinstance(value, list):
        for part in value:
            yield from _poses(part)
    elif isinstance(value, dict):
        for key, part in value.items():
            if "world" not in key.lower():
                yield from _poses(part)


def _keypoints(pose: list) -> list:
    return [(p["x"], p["y"], p.get("visibility", p.get("presence", 1.0))) for p in pose]
