"""COCO keypoints as JSON: annotations and results of COCO, MMPose, AlphaPose and Ultralytics.

- COCO: `{"images": […], "annotations": […]}`, or results, `[{"image_id", "keypoints": [x, y, c …],
  "score"}]`; AlphaPose writes the latter with file names for `image_id`.
- MMPose: `{"meta_info", "instance_info": [{"frame_id", "instances"}]}` of its demos, and
  `[{"frame_id", "instances"}]` of its Inferencer, with `keypoints` [[x, y] …] and
  `keypoint_scores`.
- Ultralytics: for every frame what `Results.to_json()` gives, `[{"keypoints": {"x", "y",
  "visible"}, "track_id"}]`.

17 keypoints, Halpe-26 or COCO-WholeBody; where the file names its keypoints, those.
"""

import re

import numpy as np

from data.estimates.keypoints import (
    COCO_17,
    HALPE_26,
    WHOLEBODY_133,
    Estimates,
    Order,
    Person,
    order_of,
    people_of,
    person_of,
)

ORDERS = {17: COCO_17, 26: HALPE_26, 133: WHOLEBODY_133}


def read(content) -> Estimates | None:
    """Read what a file holds, None where it is no COCO keypoints.

    Raises ValueError saying what is wrong where.
    """
    if isinstance(content, dict):
        if isinstance(content.get("annotations"), list) and "images" in content:
            return _annotations(content)
        if isinstance(content.get("instance_info"), list):
            return _instances(content["instance_info"], _named(content.get("meta_info")))
        return None
    if not isinstance(content, list) or not content:
        return None
    if all(isinstance(frame, dict) and "instances" in frame for frame in content):
        return _instances(content, None)
    if all(_is_person(person) and "image_id" in person for person in content):
        return _results(content)
    lists = [frame for frame in content if isinstance(frame, list)]
    if len(lists) == len(content) and all(
        _is_person(person) for frame in lists for person in frame
    ):
        frames = {n: people_of(map(_person, frame)) for n, frame in enumerate(lists)}
        return Estimates("COCO keypoints, a list for every frame", frames, len(frames))
    return None


def _is_person(content) -> bool:
    return isinstance(content, dict) and "keypoints" in content


def _annotations(content: dict) -> Estimates:
    categories = content.get("categories") or [{}]
    names = next((c["keypoints"] for c in categories if c.get("keypoints")), None)
    order = order_of(names) if names else None
    images = content["images"]
    try:
        images = sorted(images, key=lambda image: _number(image["file_name"]))
    except (KeyError, ValueError):
        images = sorted(images, key=lambda image: image["id"])
    place = {image["id"]: number for number, image in enumerate(images)}
    frames: dict[int, list[Person]] = {number: [] for number in place.values()}
    for annotation in content["annotations"]:
        if annotation.get("image_id") not in place:
            raise ValueError(f"an annotation of image {annotation.get('image_id')}, which is none")
        if "keypoints" in annotation:
            frames[place[annotation["image_id"]]] += people_of([_person(annotation, order)])
    return Estimates("COCO annotations", frames, len(frames))


def _results(content: list) -> Estimates:
    frames: dict[int, list[Person]] = {}
    for person in content:
        frames.setdefault(_number(person["image_id"]), []).extend(people_of([_person(person)]))
    return Estimates("COCO results", frames)


def _instances(content: list, order: Order | None) -> Estimates:
    # By their place in the list: frame_id counts from 0 in one script of MMPose, from 1 in others.
    frames = {
        number: people_of(_person(person, order) for person in frame["instances"])
        for number, frame in enumerate(content)
    }
    return Estimates("MMPose", frames, len(frames))


def _named(meta) -> Order | None:
    """Return the order that MMPose's meta_info tells, None without."""
    names = (meta or {}).get("keypoint_id2name")
    if not names:
        return None
    if isinstance(names, dict):
        names = [names[key] for key in sorted(names, key=int)]
    return order_of(names)


def _person(content: dict, order: Order | None = None) -> Person | None:
    keypoints = content["keypoints"]
    if isinstance(keypoints, dict):
        columns = [keypoints["x"], keypoints["y"]]
        columns.append(keypoints.get("visible") or np.ones(len(columns[0])))
        values = np.stack([np.asarray(column, float) for column in columns], axis=1)
    else:
        values = np.asarray(keypoints, float)
        values = values.reshape(-1, 3) if values.ndim == 1 else values
    if values.shape[1] == 2:
        scores = content.get("keypoint_scores")
        scores = np.ones(len(values)) if scores is None else np.asarray(scores, float).reshape(-1)
        values = np.column_stack([values, scores])
    if order is None or len(order) != len(values):
        if len(values) not in ORDERS:
            raise ValueError(f"a person of {len(values)} keypoints, not 17, 26 or 133")
        order = ORDERS[len(values)]
    track = next((content[key] for key in ("track_id", "idx") if key in content), None)
    track = track if isinstance(track, int) else None
    return person_of(values, order, track)


def _number(image) -> int:
    """The number of a frame, given itself or as the name of its picture."""
    if isinstance(image, int):
        return image
    if found := re.findall(r"\d+", str(image).rsplit("/", 1)[-1].rsplit(".", 1)[0]):
        return int(found[-1])
    raise ValueError(f"image_id {image!r} has no number")
