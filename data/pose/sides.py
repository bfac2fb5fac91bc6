"""The sides of the body in pose images, which their hues tell (`data/pose/colors.py`)."""

import torch
from torch import Tensor

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
