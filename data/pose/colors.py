"""The colors of pose images, limb by limb.

The one table of them: the demo draws with it, the player draws and shows it.
"""

# From joint to joint, and the color between them.
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
ALL_LIMBS = (*LIMBS, NOSE_LIMB, *FACE_LIMBS["right"], *FACE_LIMBS["left"])

# The same limbs in the pose images of the course, by the joint at their end.
TORSO_COLOR = (0, 0, 255)
COURSE_COLORS = {
    **dict.fromkeys(("mid_hip", "shoulder_right", "shoulder_left"), TORSO_COLOR),
    **dict.fromkeys(("hip_right", "hip_left", "nose"), TORSO_COLOR),
    **{"elbow_right": (0, 56, 255), "wrist_right": (0, 107, 255), "hand_right": (110, 120, 120)},
    **{"elbow_left": (0, 217, 255), "wrist_left": (0, 237, 255), "hand_left": (110, 120, 120)},
    **{"knee_right": (0, 250, 175), "ankle_right": (10, 255, 85), "toe_right": (0, 255, 0)},
    **{"knee_left": (160, 90, 90), "ankle_left": (255, 100, 20), "toe_left": (255, 190, 0)},
    **{"eye_right": (150, 20, 190), "ear_right": (150, 50, 200)},
    **{"eye_left": (150, 20, 150), "ear_left": (200, 60, 170)},
}
