"""The fixed studio before the camera: light, wall, floor and the shadow on it."""

from functools import lru_cache

import numpy as np

from data.pose.camera import CAMERA, EYE_HEIGHT
from data.pose.skeleton import JOINT

SAMPLES = 3  # rays a pixel, each way
WALL = 7.4  # meters from the camera

LIGHT = np.array([-0.55, 0.72, -0.42], np.float32)  # towards the light: left, above, in front
LIGHT /= np.linalg.norm(LIGHT)

SHADOW_CASTERS = [
    JOINT[name]
    for name in (
        *("neck", "mid_hip", "nose", "elbow_right", "elbow_left", "knee_right", "knee_left"),
        *("ankle_right", "ankle_left", "toe_right", "toe_left", "hand_right", "hand_left"),
    )
]


@lru_cache
def rays(camera=CAMERA, samples=SAMPLES):
    """Unit vectors from the camera through every sample: (3, H * samples, W * samples)."""
    horizon, focal = camera.horizon, camera.focal
    right = ((np.arange(camera.width * samples) + 0.5) / samples - horizon[0]) / focal
    down = ((np.arange(camera.height * samples) + 0.5) / samples - horizon[1]) / focal
    right, down = np.meshgrid(right, down)
    directions = np.stack([right, -down, np.ones_like(right)])
    return (directions / np.linalg.norm(directions, axis=0)).astype(np.float32)


def shrink(samples):
    """Average the samples of every pixel: (H * SAMPLES, W * SAMPLES, C) to (H, W, C)."""
    rows, columns, channels = samples.shape
    H, W = rows // SAMPLES, columns // SAMPLES
    return samples.reshape(H, SAMPLES, W, SAMPLES, channels).mean(axis=(1, 3))


@lru_cache
def empty_studio(camera=CAMERA):
    """The picture without a person: (H, W, 3), 0 to 255."""
    x, y, z = _first_hit(rays(camera))
    on_floor = (z < WALL)[..., None]
    return shrink(np.where(on_floor, _floor(x, z), _wall(x, y))).astype(np.float32)


def _first_hit(directions):
    """Places of the empty studio, floor or wall, that rays (3, …) fall on: (3, …) in meters."""
    x, y, _ = directions / directions[2]  # at one meter from the camera
    z = EYE_HEIGHT / np.maximum(-y, EYE_HEIGHT / WALL)
    return np.stack([x * z, EYE_HEIGHT + y * z, z])


def _wall(x, y):
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


def _floor(x, z):
    """Colors at places of the floor, meters: (..., 3)."""
    color = np.full((*x.shape, 3), (178.0, 158.0, 132.0))
    plank = np.floor(x / 0.45)
    color *= (1 + 0.05 * np.sin(plank * 12.9))[..., None]  # every plank its own shade
    color[np.abs(x / 0.45 - plank - 0.5) > 0.47] *= 0.88
    gloss = np.exp(-(((x + 1.2) / 1.6) ** 2)) * np.clip((z - 3.0) / 4.4, 0, 1)
    return np.clip(color * (0.92 - 0.03 * x + 0.16 * gloss)[..., None], 0, 255)


def _box(x, y, across, height):
    return (x >= across[0]) & (x < across[1]) & (y >= height[0]) & (y < height[1])


@lru_cache
def _floor_places(camera):
    """The first row of pixels on the floor, and where (x, z) it and those below lie: (2, …)."""
    x, _, z = _first_hit(rays(camera, 1))
    first = int(np.argmax(z[:, 0] < WALL))
    return first, np.stack([x[first:], z[first:]])


def studio_with_shadow(joints, camera=CAMERA):
    """The studio with the soft shadow of a person at joints (J, 3): (H, W, 3)."""
    first, (x, z) = _floor_places(camera)
    casters = joints[SHADOW_CASTERS].astype(np.float32)
    height = np.maximum(casters[:, 1], 0)
    fall_x, _, fall_z = (casters - LIGHT * (height / LIGHT[1])[:, None]).T
    width = 0.11 + 0.10 * height  # a higher part throws a softer shadow
    away = (x[..., None] - fall_x) ** 2 + (z[..., None] - fall_z) ** 2
    darkness = (np.exp(-away / width**2) * (0.09 / width / (1 + height))).sum(axis=-1)
    picture = empty_studio(camera).copy()
    picture[first:] *= (0.45 + 0.55 * np.exp(-darkness))[..., None]
    return picture
