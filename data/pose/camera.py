"""The camera that the demo films with and the player draws for.

World axes, in meters: x to the right of the picture, y up from the floor, z away from the camera.
"""

import numpy as np

WIDTH, HEIGHT = 128, 64  # picture, pixels
FOCAL = 2.05 * HEIGHT  # pixels
HORIZON = (0.5 * WIDTH, 0.41 * HEIGHT)  # the pixel straight ahead of the camera
EYE_HEIGHT = 1.1  # meters


def project(points):
    """World points (..., 3) to picture places (..., 2), x to the right and y down, in pixels."""
    x, y, z = np.moveaxis(points, -1, 0)
    return np.stack(
        [HORIZON[0] + FOCAL * x / z, HORIZON[1] - FOCAL * (y - EYE_HEIGHT) / z], axis=-1
    )


def ray(place):
    """World points on the line of sight through a picture place (2,), in pixels.

    Returns (start, along), (3,) each: the point at depth z is start + z * along.
    """
    right, down = (np.asarray(place) - HORIZON) / FOCAL
    return np.array([0.0, EYE_HEIGHT, 0.0]), np.array([right, -down, 1.0])


def edge(z):
    """How far to either side the picture reaches at a distance z, in meters."""
    return 0.5 * WIDTH / FOCAL * z
