"""The camera that the demo films with and the player draws for.

World axes, in meters: x to the right of the picture, y up from the floor, z away from the camera.
"""

from dataclasses import dataclass

import numpy as np

EYE_HEIGHT = 1.1  # meters


@dataclass(frozen=True)
class Camera:
    """A camera by the size of its pictures, in pixels; its angle of view goes by their height.

    So pictures of equal proportions show the same, and wider ones show more to both sides.
    """

    height: int
    width: int

    @property
    def focal(self) -> float:
        """The focal length in pixels."""
        return 2.05 * self.height

    @property
    def horizon(self) -> tuple[float, float]:
        """The pixel straight ahead: x to the right and y down."""
        return 0.5 * self.width, 0.41 * self.height

    def project(self, points):
        """World points (..., 3) to places (..., 2), x to the right and y down, in pixels."""
        x, y, z = np.moveaxis(points, -1, 0)
        return np.stack(
            [
                self.horizon[0] + self.focal * x / z,
                self.horizon[1] - self.focal * (y - EYE_HEIGHT) / z,
            ],
            axis=-1,
        )

    def edge(self, z):
        """How far to either side the picture reaches at a distance z, in meters."""
        return 0.5 * self.width / self.focal * z


# The camera of the demo where nothing else is asked for; what is said in pixels is in its pixels.
WIDTH, HEIGHT = 128, 64
CAMERA = Camera(HEIGHT, WIDTH)
FOCAL, HORIZON = CAMERA.focal, CAMERA.horizon
project, edge = CAMERA.project, CAMERA.edge


def camera_for(height, width):
    """The camera that the demo films with for a model of such frames: at that size, or CAMERA.

    What is smaller than its pictures is resized from them, as the data are when they are read.
    """
    return Camera(height, width) if height > CAMERA.height else CAMERA


def ray(place):
    """World points on the line of sight through a picture place (2,), in pixels.

    Returns (start, along), (3,) each: the point at depth z is start + z * along.
    """
    right, down = (np.asarray(place) - HORIZON) / FOCAL
    return np.array([0.0, EYE_HEIGHT, 0.0]), np.array([right, -down, 1.0])
