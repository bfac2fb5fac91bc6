"""Joints as CSV: the plain table of docs/data.md, and those that people make of MediaPipe.

A row for every frame and person, with columns NAME_x, NAME_y and perhaps NAME_confidence; or a row
for every joint, with columns that tell frame, joint, x and y. Names are those of the joints here or
of other formats (`left_eye`); numbers are MediaPipe's. Columns of other names are passed over.
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
    return Estimates("CSV", frames)


def _columns(header: list[str]) -> dict[int, tuple[str, int]]:
    """Return joint and axis of every column that has one; {} where no joint has both x and y."""
    named, numbered = {}, {}
    for index, name in enumerate(header):
        if match := _NUMBERED.fullmatch(name):
            numbered[index] = (int(match[2]), AXES[match[1].lower()])
        elif match := _COLUMN.fullmatch(name):
            axis = AXES[match[2].lower()]
            if number := _LAST_NUMBER.fullmatch(match[1]):
                numbered[index] = (int(number[1]), axis)
            else:
                named[index] = (joint_named(match[1]), axis)
    numbers = sorted({number for number, _ in numbered.values()})
    if numbers and len(numbers) != len(MEDIAPIPE_33):
        raise ValueError(
            f"{len(numbers)} numbered keypoints, not MediaPipe's 33: name them (docs/data.md)"
        )
    landmarks = dict(zip(numbers, MEDIAPIPE_33))
    named |= {index: (landmarks[number], axis) for index, (number, axis) in numbered.items()}
    found = {index: column for index, column in named.items() if column[0]}
    places = set(found.values())
    whole = {joint for joint, _ in places if {(joint, 0), (joint, 1)} <= places}
    return {index: (joint, axis) for index, (joint, axis) in found.items() if joint in whole}


def _landmark(number: int) -> str | None:
    return MEDIAPIPE_33[number] if number < len(MEDIAPIPE_33) else None


def _wide(header: list[str], columns: dict, rows) -> Iterator[tuple[int, int | None, list, Order]]:
    order = tuple(dict.fromkeys(joint for joint, _ in columns.values()))
    place = {joint: index for index, joint in enumerate(order)}
    frame, person = _column(header, FRAME_NAMES), _column(header, PERSON)
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
        raise ValueError("a row for every joint, and no column `frame`")
    axes = {AXES[name]: index for index, name in enumerate(header) if name in AXES}
    people: dict[tuple, dict[str, list[float]]] = {}
    for line, row in enumerate(rows):
        if not row:
            continue
        _check_width(header, row, line)
        name = row[which].strip()
        joint = _landmark(int(name)) if name.isdecimal() else joint_named(name)
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
