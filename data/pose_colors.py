"""The colors of pose images: of every limb, and what they say of the sides of the body.

The one table of them: the demo draws with it, the player draws and shows it, and the augmentation
swaps the sides by its hues.
"""

import torch
from torch import Tensor

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

# Hues in degrees, as the pose images of the lab and of the demo have them (docs/lab.md): the right
# leg goes from turquoise at the hip over green to yellow-green at the toes, the left one from pink
# over orange to yellow; the right arm is blue, the left one sky blue. Trunk and head have one color
# each.
LEGS = (-14.0, 174.0)  # a hue h and its partner add up to their sum
LEFT_ARM = (180.0, 208.5)
RIGHT_ARM = (208.5, 236.0)
ARM_STEP = 29.0  # between a place on the left arm and the same on the right one


def swap_sides(poses: Tensor) -> Tensor:
    """Give every left limb the color of the right one and the reverse: (…, 3, H, W) in [0, 1].

    A pixel keeps its brightness and saturation, so thin lines stay thin. Where limbs cross, their
    mixed colors are taken for the limb of the nearest hue.
    """
    hue, value, chroma = hues(poses)
    hue = _partner(hue) / 60
    colors = [(hue + n) % 6 for n in (5, 3, 1)]  # the hue's distance from red, green and blue
    levels = [value - chroma * torch.minimum(k, 4 - k).clamp(0, 1) for k in colors]
    return torch.stack(levels, dim=-3)


def hues(poses: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return hue in degrees from -60 to 300, value and chroma of colors: (…, 3, H, W) → (…, H, W).

    Where there is no color (chroma 0), the hue says nothing.
    """
    red, green, blue = poses.unbind(dim=-3)
    value, least = poses.amax(dim=-3), poses.amin(dim=-3)
    chroma = value - least
    scale = chroma.clamp(min=1e-6)
    hue = torch.where(
        value == red,
        (green - blue) / scale,
        torch.where(value == green, 2 + (blue - red) / scale, 4 + (red - green) / scale),
    )
    return 60 * hue, value, chroma


def _partner(hue: Tensor) -> Tensor:
    """Return the hue of the same limb on the other side; in degrees from -60 to 300."""
    low, high = LEGS
    legs = (hue >= low) & (hue < high)
    left = (hue >= LEFT_ARM[0]) & (hue < LEFT_ARM[1])
    right = (hue >= RIGHT_ARM[0]) & (hue < RIGHT_ARM[1])
    arms = hue + ARM_STEP * (left.float() - right.float())
    return torch.where(legs, low + high - hue, arms)
