"""The person: round cones between the joints, found by ray tracing and dressed by clothes.py.

Camera axes are the world's, moved up to the camera's eye. P pixels, N visible samples.
"""

from typing import NamedTuple

import numpy as np

from data.pose.camera import CAMERA, EYE_HEIGHT
from data.pose.skeleton import JOINT, JOINTS, SIDES
from demo.clothes import FRAMES, MATERIALS, Outfit, Surface, colors
from demo.rooms import STUDIO, Room
from demo.scene import SAMPLES, rays, shrink, studio_with_shadow

LANDMARKS = ("crown", "chin", "throat", "chest_right", "chest_left", "belly")
POINT = JOINT | {name: len(JOINTS) + index for index, name in enumerate(LANDMARKS)}


class Part(NamedTuple):
    """A cone with round ends from one point to another; radii in meters."""

    start: str
    end: str
    start_radius: float
    end_radius: float
    material: str  # one of MATERIALS
    frame: str  # the axes that its pattern follows, one of FRAMES


PARTS = (
    Part("crown", "chin", 0.120, 0.088, "head", "head"),
    Part("neck", "throat", 0.060, 0.055, "skin", "head"),
    Part("chest_right", "chest_left", 0.085, 0.085, "shirt", "chest"),
    Part("chest_right", "hip_right", 0.105, 0.110, "shirt", "chest"),
    Part("chest_left", "hip_left", 0.105, 0.110, "shirt", "chest"),
    Part("belly", "neck", 0.125, 0.080, "shirt", "chest"),
    Part("hip_right", "hip_left", 0.122, 0.122, "trousers", "hips"),
    *(
        part
        for side in SIDES
        for part in (
            Part(f"shoulder_{side}", f"elbow_{side}", 0.072, 0.056, "sleeve", "chest"),
            Part(f"elbow_{side}", f"wrist_{side}", 0.055, 0.043, "cuff", "chest"),
            Part(f"wrist_{side}", f"hand_{side}", 0.040, 0.046, "skin", "chest"),
            Part(f"hip_{side}", f"knee_{side}", 0.112, 0.074, "trousers", "hips"),
            Part(f"knee_{side}", f"ankle_{side}", 0.072, 0.054, "trousers", "hips"),
            Part(f"heel_{side}", f"toe_{side}", 0.050, 0.042, "shoe", "hips"),
        )
    ),
)
RADII = np.array([(part.start_radius, part.end_radius) for part in PARTS], np.float32)
ENDS = np.array([(POINT[part.start], POINT[part.end]) for part in PARTS])
PART_MATERIALS = np.array([MATERIALS.index(part.material) for part in PARTS])
PART_FRAMES = np.array([FRAMES.index(part.frame) for part in PARTS])


class Look(NamedTuple):
    """Who is filmed, and where."""

    outfit: Outfit = Outfit()
    room: Room = STUDIO
    girth: float = 1.0  # times the radii of the parts


USUAL = Look()


def draw_person(joints, camera=CAMERA, look=USUAL):
    """The picture of a person at joints (J, 3) in a room: (H, W, 3), 0 to 255."""
    studio = studio_with_shadow(joints, camera, look.room)
    points = _with_landmarks(joints).astype(np.float32) - np.array([0, EYE_HEIGHT, 0], np.float32)
    radii = look.girth * RADII
    distance, part = _trace(points[ENDS], radii, camera)
    seen = part >= 0
    if not seen.any():
        return studio

    samples = np.zeros((*seen.shape, 4), np.float32)  # color times coverage, coverage
    surface = _surface(points, radii, distance[seen] * rays(camera)[:, seen], part[seen])
    samples[seen, :3] = colors(surface, look.outfit)
    samples[seen, 3] = 1
    pixels = shrink(samples)
    return pixels[..., :3] + (1 - pixels[..., 3:]) * studio


def render_frame(joints, camera=CAMERA, look=USUAL):
    """The same, as frames are stored: (H, W, 3) uint8."""
    return np.rint(draw_person(joints, camera, look)).clip(0, 255).astype(np.uint8)


def _with_landmarks(joints):
    """Joints (J, 3) followed by the LANDMARKS."""
    place = {name: joints[index] for name, index in JOINT.items()}
    head = (place["ear_right"] + place["ear_left"]) / 2
    face = place["nose"] - head
    up = (head - place["neck"]) / np.linalg.norm(head - place["neck"])
    landmarks = [head + 0.045 * up, head - 0.055 * up + 0.2 * face, head - 0.06 * up]
    spine = place["neck"] - place["mid_hip"]
    for side in SIDES:
        landmarks.append(0.72 * place[f"shoulder_{side}"] + 0.28 * place["neck"] - 0.08 * spine)
    landmarks.append(place["mid_hip"] + 0.3 * spine)
    return np.concatenate([joints, landmarks])


def _trace(cones, cone_radii, camera):
    """Trace a ray through every sample.

    cones: (parts, 2, 3), the ends of every part; cone_radii: (parts, 2). Returns the distance to
    the nearest surface and the number of its part, -1 where there is none; both
    (H * SAMPLES, W * SAMPLES).
    """
    directions = rays(camera)
    distance = np.full(directions.shape[1:], np.inf, np.float32)
    nearest = np.full(directions.shape[1:], -1, np.int8)
    for index, (ends, radii) in enumerate(zip(cones, cone_radii, strict=True)):
        window = _window(ends, radii, camera)
        hit = _hit_round_cone(directions[(slice(None), *window)], *ends, *radii)
        nearer = hit < distance[window]
        distance[window][nearer] = hit[nearer]
        nearest[window][nearer] = index
    return distance, nearest


def _window(ends, radii, camera):
    """Rows and columns of samples, as two slices, that a cone can fall on."""
    scale = SAMPLES * camera.focal / ends[:, 2]
    reach = 1.15 * radii * scale + 1  # a ball looks longer away from the picture's middle
    columns = SAMPLES * camera.horizon[0] + ends[:, 0] * scale
    rows = SAMPLES * camera.horizon[1] - ends[:, 1] * scale
    return tuple(
        slice(
            int(np.clip((middle - reach).min(), 0, size * SAMPLES)),
            int(np.clip(np.ceil((middle + reach).max()), 0, size * SAMPLES)),
        )
        for middle, size in ((rows, camera.height), (columns, camera.width))
    )


def _hit_round_cone(ray, start, end, start_radius, end_radius):
    """Distance along unit rays (3, rows, columns) from the origin to a round cone, inf if missed.

    After Inigo Quilez, "Intersectors": a quadratic for the flank, one for the ball at either end.
    """
    axis = end - start
    taper = start_radius - end_radius
    axis_start = axis @ start
    flank = axis @ axis - taper * taper
    ray_axis = _dot(ray, axis)
    ray_start = _dot(ray, start)

    a = flank - ray_axis * ray_axis
    b = axis_start * ray_axis - flank * ray_start + taper * start_radius * ray_axis
    c = (
        flank * (start @ start)
        - axis_start * axis_start
        - 2 * axis_start * taper * start_radius
        - (axis @ axis) * start_radius * start_radius
    )
    discriminant = b * b - a * c
    with np.errstate(divide="ignore", invalid="ignore"):
        hit = (-np.sqrt(discriminant) - b) / a  # nan where the ray misses
        along = hit * ray_axis - axis_start - taper * start_radius
        on_flank = (along > 0) & (along < flank)
        balls = np.fmin(
            _hit_ball(ray_start, start @ start, start_radius),
            _hit_ball(ray_start + ray_axis, end @ end, end_radius),
        )
        hit = np.where(on_flank, hit, balls)
    return np.where(np.isnan(hit), np.inf, hit)


def _hit_ball(ray_center, center_squared, radius):
    return ray_center - np.sqrt(ray_center * ray_center - (center_squared - radius * radius))


def _dot(planes, vector):
    """Dot product of (3, …) with (3,), in a fixed order: BLAS may round differently per call."""
    return planes[0] * vector[0] + planes[1] * vector[1] + planes[2] * vector[2]


def _surface(points, radii, place, part):
    """What the clothes need to know of the visible samples.

    points: all points of the body; radii: (parts, 2); place: (3, N) of the samples; part: (N,)
    their parts.
    """
    start, end = points[ENDS[:, 0]], points[ENDS[:, 1]]
    axis = end - start
    taper = radii[:, 0] - radii[:, 1]
    flank = (axis * axis).sum(axis=1) - taper * taper
    from_start = place - start[part].T
    along = ((from_start * axis[part].T).sum(axis=0) - (taper * radii[:, 0])[part]) / flank[part]
    along = np.clip(along, 0, 1)
    normal = from_start - along * axis[part].T
    normal /= np.sqrt((normal * normal).sum(axis=0))

    origins, axes = _frames(points)
    frame = PART_FRAMES[part]
    to_body = axes[frame].transpose(1, 2, 0)  # (3 body axes, 3, N)
    return Surface(
        material=PART_MATERIALS[part],
        along=along,
        normal=normal,
        body_normal=(to_body * normal).sum(axis=1),
        body_place=(to_body * (place - origins[frame].T)).sum(axis=1),
    )


def _frames(points):
    """Origins (F, 3) and axes (F, 3, 3) — left, up, forward — of the body's FRAMES."""
    head = (points[POINT["ear_right"]] + points[POINT["ear_left"]]) / 2
    hips, neck = points[POINT["mid_hip"]], points[POINT["neck"]]
    across = {
        name: points[POINT[f"{joint}_left"]] - points[POINT[f"{joint}_right"]]
        for name, joint in (("head", "ear"), ("chest", "shoulder"), ("hips", "hip"))
    }
    face = points[POINT["nose"]] - head
    spine = neck - hips
    return (
        np.stack([head, neck, hips]),
        np.stack(
            [
                _axes(across["head"], np.cross(across["head"], face)),
                _axes(across["chest"], spine),
                _axes(across["hips"], np.array([0, 1, 0], np.float32)),
            ]
        ),
    )


def _axes(left, up):
    """Left, up and forward as unit vectors: (3, 3)."""
    forward = np.cross(up, left)  # the world's axes are left-handed
    up = np.cross(left, forward)
    return np.stack([v / np.linalg.norm(v) for v in (left, up, forward)])
