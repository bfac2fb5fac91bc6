"""Which format of an estimator a file or folder has, and its people."""

import csv
import re
from collections.abc import Iterator
from pathlib import Path

from core.errors import UserError
from core.files import parse_json
from data.estimates import coco, mediapipe, openpose, pose_file, table
from data.estimates.keypoints import Estimates

FORMATS = (
    "OpenPose's folder of JSON, COCO keypoints (MMPose, Ultralytics), MediaPipe's landmarks, "
    ".pose, or the CSV of docs/data.md"
)
VIDEOS = {".mp4", ".mov", ".m4v", ".mkv", ".avi", ".webm", ".mpg", ".mpeg", ".3gp", ".mts", ".wmv"}
UNUSUAL = (OverflowError, RecursionError, csv.Error)  # of numbers, nesting and lines without end


def read_poses(path: Path) -> Estimates:
    """Read what an estimator wrote.

    Raises UserError, naming the file and what it looks like, where it is of no known format.
    """
    try:
        if path.suffix.lower() in VIDEOS:
            raise UserError(
                f"--poses {path}: that is a video; give the poses that an estimator found in it: "
                + FORMATS
            )
        if path.is_dir():
            found = _folder(path)
        elif path.suffix.lower() == ".csv":
            found = table.read(path)
        elif path.suffix.lower() == ".pose":
            found = pose_file.read(path)
        else:
            found = _json(_parsed(path))
        if found is None:
            raise UserError(f"--poses {path}: {_looks(path)}; expected {FORMATS}")
    except OSError as error:
        place = f" ({error.filename})" if str(error.filename) != str(path) else ""
        raise UserError(f"--poses {path}: {error.strerror or error}{place}") from None
    except (ValueError, LookupError, TypeError, AttributeError, *UNUSUAL) as error:
        said = str(error) if isinstance(error, ValueError) else f"not as expected ({error!r})"
        raise UserError(f"--poses {path}: {said}; expected {FORMATS}") from None
    if not any(found.frames.values()):
        raise UserError(
            f"--poses {path}: nobody in any of {len(found.frames)} frames ({found.format}); "
            "look at what the estimator drew"
        )
    return found


def _folder(path: Path) -> Estimates | None:
    """Read a folder with a JSON file for every frame."""
    files = sorted(path.glob("*.json"), key=_frame_number)
    if not files:
        raise UserError(f"--poses {path}: no JSON files in this folder; expected {FORMATS}")
    if len(files) == 1 and not openpose.is_frame(_parsed(files[0])):
        return read_poses(files[0])
    numbers = [_frame_number(file) for file in files]
    for before, number, file in zip(numbers, numbers[1:], files[1:]):
        if number - before != 1:
            raise UserError(
                f"--poses {file}: the file before is of frame {before}; expected one file for "
                "every frame"
            )
    first = _parsed(files[0])
    if openpose.is_frame(first):
        return openpose.read(map(_parsed, files))
    return coco.read([_parsed(file) for file in files])


def _frame_number(file: Path) -> int:
    """The last number of a name: 17 of `clip_000000000017_keypoints.json`."""
    if found := re.findall(r"\d+", file.stem):
        return int(found[-1])
    raise UserError(f"--poses {file}: no frame number in the name")


def _parsed(file: Path):
    try:
        return parse_json(file.read_bytes())
    except ValueError as error:
        raise UserError(f"--poses {file}: no JSON ({error}); expected {FORMATS}") from None


def _json(content) -> Estimates | None:
    if openpose.is_frame(content):
        return openpose.read([content])
    if isinstance(content, list) and content and all(map(openpose.is_frame, content)):
        return openpose.read(content)
    return coco.read(content) or mediapipe.read(content)


def _looks(path: Path) -> str:
    """Say in words what a file looks like."""
    if path.suffix.lower() == ".csv":
        with path.open(encoding="utf-8-sig") as file:
            return f"a table with the header {file.readline(200).strip()!r}"
    file = path if path.is_file() else min(path.glob("*.json"), key=_frame_number)
    return f"JSON that is {''.join(_described(_parsed(file)))}"


def _described(content, depth: int = 0) -> Iterator[str]:
    if isinstance(content, dict):
        names = ", ".join(map(str, list(content)[:6]))
        yield f"an object with {names}{' …' if len(content) > 6 else ''}" if content else "{}"
    elif isinstance(content, list):
        yield f"a list of {len(content)}"
        if content and depth < 2:
            yield ", each "
            yield from _described(content[0], depth + 1)
    else:
        yield f"a {type(content).__name__}"
