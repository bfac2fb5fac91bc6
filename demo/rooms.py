"""Rooms to film in: the colors of their walls and floors. Places in meters."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Room(NamedTuple):
    """Colors (..., 3), 0 to 255, at places of the wall (x, y) and of the floor (x, z)."""

    wall: Callable
    floor: Callable


def _studio_wall(x, y):
    """Colors at places of the wall, meters: (..., 3)."""
    color = np.full((*x.shape, 3), (196.0, 194.0, 186.0))
    seam = np.abs((x + 0.4) % 1.8 - 0.9) < 0.025
    color[seam] *= 0.86
    color[_box(x, y, (2.35, 3.25), (0.0, 2.05))] = (150, 176, 190)  # door
    color[_box(x, y, (2.45, 3.15), (0.1, 1.95))] = (172, 196, 206)
    color[_box(x, y, (-2.75, -1.75), (1.25, 2.15))] = (96, 92, 88)  # picture in its frame
    color[_box(x, y, (-2.67, -1.83), (1.33, 2.07))] = (232, 214, 160)
    color[_box(x, y, (-2.67, -1.83), (1.33, 1.60))] = (108, 150, 120)
    color[np.hypot(x + 2.05, y - 1.84) < 0.12] = (222, 110, 70)
    color[_box(x, y, (0.45, 0.60), (0.35, 0.50))] = (236, 236, 232)  # socket
    color[y < 0.14] = (120, 104, 92)  # skirting board
    lamps = sum(np.exp(-(((x - lamp) / 0.9) ** 2) - ((2.75 - y) / 0.75) ** 2) for lamp in (-2, 0.9))
    side_light = 1.04 - 0.045 * x - 0.10 * (1 - np.clip(y / 1.6, 0, 1))
    return np.clip(color * (side_light * 0.93 + 0.30 * lamps)[..., None], 0, 255)


def _studio_floor(x, z):
    """Colors at places of the floor, meters: (..., 3)."""
    color = np.full((*x.shape, 3), (178.0, 158.0, 132.0))
    plank = np.floor(x / 0.45)
    color *= (1 + 0.05 * np.sin(plank * 12.9))[..., None]  # every plank its own shade
    color[np.abs(x / 0.45 - plank - 0.5) > 0.47] *= 0.88
    gloss = np.exp(-(((x + 1.2) / 1.6) ** 2)) * np.clip((z - 3.0) / 4.4, 0, 1)
    return np.clip(color * (0.92 - 0.03 * x + 0.16 * gloss)[..., None], 0, 255)


def _box(x, y, across, height):
    return (x >= across[0]) & (x < across[1]) & (y >= height[0]) & (y < height[1])


def _loft_wall(x, y):
    """Bricks, a window and a plant."""
    row = np.floor(y / 0.16)
    column = np.floor(x / 0.38 + 0.5 * (row % 2))
    color = np.full((*x.shape, 3), (150.0, 92.0, 74.0))
    color *= (1 + 0.10 * np.sin(12.9 * column + 78.2 * row))[..., None]  # every brick its own shade
    joint = (np.abs(y / 0.16 - row - 0.5) > 0.43) | (
        np.abs(x / 0.38 + 0.5 * (row % 2) - column - 0.5) > 0.46
    )
    color[joint] = (178, 166, 152)
    color[_box(x, y, (-2.5, -0.7), (0.95, 2.35))] = (58, 56, 60)  # window
    for left in (-2.42, -1.56):
        color[_box(x, y, (left, left + 0.78), (1.03, 2.27))] = (206, 224, 236)
    color[_box(x, y, (2.0, 2.5), (0.0, 0.5))] = (214, 208, 196)  # pot
    color[(np.hypot((x - 2.25) / 0.42, (y - 0.95) / 0.5) < 1)] = (62, 110, 66)
    color[_box(x, y, (0.3, 1.4), (1.5, 1.56))] = (96, 70, 48)  # shelf
    color[_box(x, y, (0.4, 0.62), (1.56, 1.86))] = (52, 84, 140)
    color[_box(x, y, (0.64, 0.78), (1.56, 1.80))] = (196, 152, 60)
    color[_box(x, y, (1.0, 1.3), (1.56, 1.74))] = (170, 60, 60)
    color[y < 0.09] = (66, 60, 58)  # skirting board
    daylight = np.exp(-(((x + 1.6) / 2.2) ** 2) - ((y - 1.6) / 1.9) ** 2)
    return np.clip(color * (0.80 + 0.34 * daylight)[..., None], 0, 255)


def _loft_floor(x, z):
    """Gray concrete, and a round rug."""
    color = np.full((*x.shape, 3), (142.0, 144.0, 146.0))
    color *= (1 + 0.03 * np.sin(3.1 * x + 1.7 * z) * np.sin(2.3 * z - 1.1 * x))[..., None]
    away = np.hypot(x - 0.2, z - 4.6)
    color[away < 1.5] = (92, 110, 132)
    color[(away < 1.38) & (away > 1.24)] = (216, 206, 186)
    return np.clip(color * (0.84 + 0.10 * np.exp(-(((x + 1.4) / 1.8) ** 2)))[..., None], 0, 255)


STUDIO = Room(_studio_wall, _studio_floor)
LOFT = Room(_loft_wall, _loft_floor)
