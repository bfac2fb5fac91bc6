"""Joints as CSV: the plain table of docs/data.md, and those that people make of MediaPipe.

A row for every frame and person, with columns NAME_x, NAME_y and perhaps NAME_confidence; or a row
for every joint, with columns that tell frame, joint, x and y. Names are those of the joints here or
of other formats (`left_eye`); numbers are MediaPipe's. Points that no joint is made of, such as
MediaPipe's mouth, are passed over; names that no format has are refused.
"""

import csv
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from core.files import atomic_write
from data.estimates.keypoints import (
    FRAME_NAMES,
    MEDIAPIPE_33,
    Estimates,
    Order,
    check_name,
    joint_named,
    people_of,
    person_of,
)
from data.pose.skeleton import JOINTS

PERSON = ("person", "person_id", "track_id")
WHICH = ("joint", "name", "landmark", "landmark_name", "landmark_index", "landmark_id", "index")
AXES = {
    **{"x": 0, "y": 1, "confidence": 2, "conf": 2, "c": 2},
    **{"visibility": 2, "vis": 2, "v": 2, "score": 2},
}
_COLUMN = re.compile(r"(.+?)[_.]?(" + "|".join(AXES) + ")", re.IGNORECASE)
_NUMBERED = re.compile(r"(" + "|".join(AXES) + r")[_.]?(\d+)", re.IGNORECASE)
_PLACE = re.compile(r"(.+?)[_.][xy]", re.IGNORECASE)
_LAST_NUMBER = re.compile(r"(?:landmark|lm|kp|keypoint|point)?[_.]?(\d+)", re.IGNORECASE)


def read(path: Path) -> Estimates | None:
    """Read a table, None where it has no columns of joints.

    Raises ValueError saying what is wrong where.
    """
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.reader(file)
        header = [name.strip() for name in next(rows, [])]
        lower = [name.lower() for name in header]
        if {"x", "y"} <= set(lower) and any(name in lower for name in WHICH):
            keypoints = _long(lower, rows)
        elif columns := _columns(header):
            keypoints = _wide(lower, columns, rows)
        else:
            return None
        frames: dict[int, list] = {}
        for number, track, values, order in keypoints:
            frames.setdefault(number, []).extend(people_of([person_of(values, order, track)]))
    if not frames:
        raise ValueError("a header and no rows")
    if _column(lower, FRAME_NAMES) is None:
        return Estimates("CSV without a column frame, a row a frame", frames, max(frames) + 1)
    return Estimates("CSV", frames)


def _columns(header: list[str]) -> dict[int, tuple[str, int]]:
    """Return joint and axis of every column that has one.

    Raises ValueError for a name that is no joint's, and where a joint has only one of x and y.
    """
    named, numbered, axes = {}, {}, {}
    for index, name in enumerate(header):
        if match := _NUMBERED.fullmatch(name):
            numbered[index], axes[index] = int(match[2]), match.span(1)
        elif match := _COLUMN.fullmatch(name):
            axes[index] = match.span(2)
            if number := _LAST_NUMBER.fullmatch(match[1]):
                numbered[index] = int(number[1])
            elif joint := joint_named(match[1]):
                named[index] = joint
            elif _PLACE.fullmatch(name):
                check_name(match[1], f"column {name}")
    numbers = sorted(set(numbered.values()))
    if numbers and len(numbers) != len(MEDIAPIPE_33):
        raise ValueError(
            f"{len(numbers)} numbered keypoints, not MediaPipe's 33: name them (docs/data.md)"
        )
    landmarks = dict(zip(numbers, MEDIAPIPE_33))
    named |= {index: landmarks[number] for index, number in numbered.items() if landmarks[number]}
    axis = {index: AXES[header[index][slice(*axes[index])].lower()] for index in named}
    places = {(joint, axis[index]) for index, joint in named.items()}
    for index, joint in named.items():
        for other, letter in enumerate("xy"):
            if (joint, other) not in places:
                start, end = axes[index]
                lacking = header[index][:start] + letter + header[index][end:]
                raise ValueError(f"column {header[index]} without a column {lacking}")
    return {index: (joint, axis[index]) for index, joint in named.items()}


def _landmark(number: int) -> str | None:
    return MEDIAPIPE_33[number] if number < len(MEDIAPIPE_33) else None


def _wide(header: list[str], columns: dict, rows) -> Iterator[tuple[int, int | None, list, Order]]:
    order = tuple(dict.fromkeys(joint for joint, _ in columns.values()))
    place = {joint: index for index, joint in enumerate(order)}
    frame, person = _column(header, FRAME_NAMES), _column(header, PERSON)
    if frame is None and person is not None:
        raise ValueError(f"a column {header[person]}, and no column frame")
    for line, row in enumerate(rows):
        if not row:
            continue
        _check_width(header, row, line)
        values = np.full((len(order), 3), np.nan)
        values[:, 2] = 1.0
        for index, (joint, axis) in columns.items():
            if text := row[index].strip():
                values[place[joint], axis] = _float(text, line)
        number = line if frame is None else int(_float(row[frame], line))
        yield number, None if person is None else int(_float(row[person], line)), values, order


def _long(header: list[str], rows) -> Iterator[tuple[int, int | None, list, Order]]:
    frame, person, which = (_column(header, names) for names in (FRAME_NAMES, PERSON, WHICH))
    if frame is None:
        raise ValueError("a row for every joint, and no column frame")
    axes = {AXES[name]: index for index, name in enumerate(header) if name in AXES}
    people: dict[tuple, dict[str, list[float]]] = {}
    for line, row in enumerate(rows):
        if not row:
            continue
        _check_width(header, row, line)
        name = row[which].strip()
        joint = _landmark(int(name)) if name.isdecimal() else joint_named(name)
        if not joint and not name.isdecimal():
            check_name(name, f"row {line + 1}")
        texts = [row[axes[axis]].strip() if axis in axes else "1" for axis in range(3)]
        track = None if person is None else int(_float(row[person], line))
        joints = people.setdefault((int(_float(row[frame], line)), track), {})
        if joint and all(texts):
            joints[joint] = [_float(text, line) for text in texts]
    for (number, track), joints in people.items():
        values = list(joints.values()) or np.empty((0, 3))
        yield number, track, values, tuple(joints)


def _column(header: list[str], names: tuple[str, ...]) -> int | None:
    return next((header.index(name) for name in names if name in header), None)


def _check_width(header: list[str], row: list[str], line: int) -> None:
    if len(row) != len(header):
        raise ValueError(f"row {line + 1} has {len(row)} columns, the header {len(header)}")


def _float(text: str, line: int) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"row {line + 1}: {text[:20]!r} is no number") from None


def write(path: Path, places: dict[int, np.ndarray]) -> None:
    """Write joints (J, 2) by the number of their frame as the plain table, all of it or nothing."""
    header = ["frame", *(f"{joint}_{axis}" for joint in JOINTS for axis in "xy")]
    with atomic_write(path) as file:
        file.write((",".join(header) + "\n").encode())
        for number, joints in places.items():
            values = ("" if np.isnan(value) else f"{value:.2f}" for value in joints.reshape(-1))
            file.write((",".join([str(number), *values]) + "\n").encode())
