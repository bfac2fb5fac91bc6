"""Pose images: thin colored limbs on white, as OpenPose renders them."""

import numpy as np
from PIL import Image, ImageDraw

from demo.scene import EYE_HEIGHT, HEIGHT, WIDTH, project
from demo.skeleton import JOINT, SIDES

SCALE = 4  # rendered larger, then averaged, for smooth lines
LINE = 1.3  # pixels

LIMBS = (
    ("neck", "mid_hip", (120, 90, 255)),
    ("neck", "shoulder_right", (130, 110, 255)),
    ("shoulder_right", "elbow_right", (70, 90, 255)),
    ("elbow_right", "wrist_right", (60, 130, 255)),
    ("wrist_right", "hand_right", (90, 110, 110)),
    ("neck", "shoulder_left", (90, 170, 255)),
    ("shoulder_left", "elbow_left", (40, 200, 255)),
    ("elbow_left", "wrist_left", (30, 230, 255)),
    ("wrist_left", "hand_left", (90, 150, 120)),
    ("mid_hip", "hip_right", (60, 220, 170)),
    ("hip_right", "knee_right", (60, 235, 150)),
    ("knee_right", "ankle_right", (50, 235, 100)),
    ("ankle_right", "toe_right", (40, 225, 40)),
    ("mid_hip", "hip_left", (230, 140, 150)),
    ("hip_left", "knee_left", (250, 140, 120)),
    ("knee_left", "ankle_left", (255, 160, 100)),
    ("ankle_left", "toe_left", (255, 200, 40)),
)
FACE_LIMBS = {
    "right": (("nose", "eye_right", (190, 60, 200)), ("eye_right", "ear_right", (150, 50, 200))),
    "left": (("nose", "eye_left", (250, 90, 220)), ("eye_left", "ear_left", (255, 140, 200))),
}
NOSE_LIMB = ("neck", "nose", (140, 60, 170))


def draw_pose(joints):
    """Render joints (J, 3) as a pose image of WIDTH x HEIGHT.

    A limb with both ends outside the picture is left out; from behind, so is the face.
    """
    place = project(joints)
    inside = ((place >= 0) & (place < (WIDTH, HEIGHT))).all(axis=-1)
    image = Image.new("RGB", (WIDTH * SCALE, HEIGHT * SCALE), "white")
    draw = ImageDraw.Draw(image)
    for start, end, color in (*LIMBS, *_face_seen(joints)):
        ends = [JOINT[start], JOINT[end]]
        if inside[ends].any():
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
