"""Pose images: thin colored limbs on white, as OpenPose renders them.

One at a time and without torch: what the demo and the imports write into data sets, and the player
shows. For many at once, in the style of lines that a data set has: `data/pose/rendering.py`.
"""

import numpy as np
from PIL import Image, ImageDraw

from data.pose.camera import CAMERA, EYE_HEIGHT, HEIGHT
from data.pose.colors import ALL_LIMBS, FACE_LIMBS, LIMBS, NOSE_LIMB
from data.pose.skeleton import JOINT, SIDES

SCALE = 4  # rendered larger, then averaged, for smooth lines
LINE = 1.3 / HEIGHT  # of the picture's height


def draw_pose(joints, camera=CAMERA, lost=()):
    """Render joints (J, 3) as a pose image of the camera's size.

    A limb with an end among the names `lost` is left out, as an estimator that misses a joint
    leaves it out; from behind, so is the face.
    """
    limbs = [limb for limb in (*LIMBS, *face_seen(joints)) if not {*limb[:2]} & {*lost}]
    return draw_places(camera.project(joints), camera.width, camera.height, limbs)


def draw_places(places, width, height, limbs=ALL_LIMBS):
    """Render joints at places (J, 2) of a picture, in pixels, as a pose image.

    A limb is left out where one of its ends is not known (NaN), or both lie outside the picture.
    """
    known = np.isfinite(places).all(axis=-1)
    inside = known & ((places >= 0) & (places < (width, height))).all(axis=-1)
    image = Image.new("RGB", (width * SCALE, height * SCALE), "white")
    draw = ImageDraw.Draw(image)
    for start, end, color in limbs:
        ends = [JOINT[start], JOINT[end]]
        if known[ends].all() and inside[ends].any():
            line = [tuple(point) for point in places[ends] * SCALE]
            draw.line(line, color, width=round(LINE * height * SCALE))
    return image.reduce(SCALE)


def face_seen(joints):
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
