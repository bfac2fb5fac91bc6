"""The room before the camera: its light, and the shadow on its floor."""

from functools import lru_cache

import numpy as np

from data.pose.camera import CAMERA, EYE_HEIGHT
from data.pose.skeleton import JOINT
from demo.rooms import STUDIO

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
def empty_studio(camera=CAMERA, room=STUDIO):
    """The picture without a person: (H, W, 3), 0 to 255."""
    x, y, z = _first_hit(rays(camera))
    on_floor = (z < WALL)[..., None]
    return shrink(np.where(on_floor, room.floor(x, z), room.wall(x, y))).astype(np.float32)


def _first_hit(directions):
    """Places of the empty studio, floor or wall, that rays (3, …) fall on: (3, …) in meters."""
    x, y, _ = directions / directions[2]  # at one meter from the camera
    z = EYE_HEIGHT / np.maximum(-y, EYE_HEIGHT / WALL)
    return np.stack([x * z, EYE_HEIGHT + y * z, z])


@lru_cache
def _floor_places(camera):
    """The first row of pixels on the floor, and where (x, z) it and those below lie: (2, …)."""
    x, _, z = _first_hit(rays(camera, 1))
    first = int(np.argmax(z[:, 0] < WALL))
    return first, np.stack([x[first:], z[first:]])


def studio_with_shadow(joints, camera=CAMERA, room=STUDIO):
    """The studio with the soft shadow of a person at joints (J, 3): (H, W, 3)."""
    first, (x, z) = _floor_places(camera)
    casters = joints[SHADOW_CASTERS].astype(np.float32)
    height = np.maximum(casters[:, 1], 0)
    fall_x, _, fall_z = (casters - LIGHT * (height / LIGHT[1])[:, None]).T
    width = 0.11 + 0.10 * height  # a higher part throws a softer shadow
    away = (x[..., None] - fall_x) ** 2 + (z[..., None] - fall_z) ** 2
    darkness = (np.exp(-away / width**2) * (0.09 / width / (1 + height))).sum(axis=-1)
    picture = empty_studio(camera, room).copy()
    picture[first:] *= (0.45 + 0.55 * np.exp(-darkness))[..., None]
    return picture
