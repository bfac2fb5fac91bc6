"""Where a limb goes when its end is pulled to a place in the picture. Everything in meters."""

import numpy as np

Place = np.ndarray  # (3,)


def two_bones(
    root: Place, target: Place, upper: float, lower: float, bend: Place
) -> tuple[Place, Place]:
    """Place the middle and the end of a limb of two bones, which keep their lengths.

    The end is at the target, or on the way to it as far as the limb reaches; the middle is to the
    side of `bend`, a vector from the root.
    """
    towards = target - root
    distance = float(np.linalg.norm(towards))
    along = towards / distance if distance > 1e-9 else np.array([0.0, -1.0, 0.0])
    distance = float(np.clip(distance, abs(upper - lower) + 1e-6, upper + lower - 1e-6))
    before = (upper**2 - lower**2 + distance**2) / (2 * distance)  # of the middle, along the line
    aside = bend - (bend @ along) * along
    if np.linalg.norm(aside) < 1e-6:  # stretched: any side will do
        aside = np.cross(along, [1.0, 0.0, 0.0] if abs(along[0]) < 0.9 else [0.0, 1.0, 0.0])
    aside = aside / np.linalg.norm(aside)
    middle = root + before * along + np.sqrt(max(0.0, upper**2 - before**2)) * aside
    return middle, root + distance * along


def within_reach(start: Place, along: Place, center: Place, reach: float, depth: float) -> Place:
    """Return the point of a line of sight, start + z·along, that is within reach of a center.

    Of those points the one nearest to `depth`; where none is, the one nearest to the center.
    """
    interval = _through_ball(start, along, center, reach)
    if interval is None:
        return start + (along @ (center - start)) / (along @ along) * along
    return start + float(np.clip(depth, *interval)) * along


def on_sphere(start: Place, along: Place, center: Place, radius: float, depth: float) -> Place:
    """Return the point of a sphere that a line of sight meets, the one nearer to `depth`.

    Where it misses, the point of the sphere nearest to the line.
    """
    interval = _through_ball(start, along, center, radius)
    if interval is None:
        nearest = start + (along @ (center - start)) / (along @ along) * along
        away = nearest - center
        return center + radius * away / np.linalg.norm(away)
    z = min(interval, key=lambda z: abs(z - depth))
    return start + z * along


def _through_ball(start: Place, along: Place, center: Place, radius: float):
    """Return the depths between which a line of sight is in a ball, or None."""
    a, b, offset = along @ along, along @ (start - center), start - center
    discriminant = b * b - a * (offset @ offset - radius * radius)
    if discriminant < 0:
        return None
    root = np.sqrt(discriminant)
    return (-b - root) / a, (-b + root) / a
