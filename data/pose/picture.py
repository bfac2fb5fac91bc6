"""Pose images: thin colored limbs on white, as OpenPose renders them."""

import numpy as np
from PIL import Image, ImageDraw

from data.pose.camera import EYE_HEIGHT, HEIGHT, WIDTH, project
from data.pose.skeleton import JOINT, SIDES
from data.pose_colors import FACE_LIMBS, LIMBS, NOSE_LIMB

SCALE = 4  # rendered larger, then averaged, for smooth lines
LINE = 1.3  # pixels


def draw_pose(joints, lost=()):
    """Render joints (J, 3) as a pose image of WIDTH x HEIGHT.

    A limb with both ends outside the picture is left out, and one with an end among the names
    `lost`, as an estimator that misses a joint leaves it out; from behind, so is the face.
    """
    place = project(joints)
    inside = ((place >= 0) & (place < (WIDTH, HEIGHT))).all(axis=-1)
    image = Image.new("RGB", (WIDTH * SCALE, HEIGHT * SCALE), "white")
    draw = ImageDraw.Draw(image)
    for start, end, color in (*LIMBS, *_face_seen(joints)):
        ends = [JOINT[start], JOINT[end]]
        if inside[ends].any() and start not in lost and end not in lost:
            line = [tuple(point) for point in place[ends] * SCALE]
            draw.line(line, color, width=round(LINE * SCALE))
    return image.reduce(SCALE)


def _face_seen(joints):
    """The limbs of the face that are turned towards the camera."""
    ears = {side: joints[JOINT[f"ear_{side}"]] for side in SIDES}
    center = (ears["right"] + ears["left"]) / 2
    to_camera = (0, EYE_HEIGHT, 0) - center
    to_camera /= np.linalg.norm(to_camera)
    forward = joints[JOINT["nose"]] - center
    forward /= np.linalg.norm(forward)
    if forward @ to_camera < -0.25:
        return
    yield NOSE_LIMB
    for side in SIDES:
        outward = (ears[side] - center) / np.linalg.norm(ears[side] - center)
        if (0.8 * outward + forward) @ to_camera > 0:
            yield from FACE_LIMBS[side]
