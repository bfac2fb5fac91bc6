"""Colors of the person: skin, hair, a striped shirt, trousers with a side stripe, under a lamp.

N visible samples. Body axes are left, up, forward, in meters, from the origin of a body frame.
"""

from typing import NamedTuple

import numpy as np

from demo.scene import LIGHT

FRAMES = ("head", "chest", "hips")  # origins: between the ears, the neck, the mid-hip

Color = tuple[int, int, int]


class Outfit(NamedTuple):
    """The colors of a person."""

    skin: Color = (222, 164, 132)
    hair: Color = (44, 28, 22)
    eye: Color = (30, 24, 24)
    lip: Color = (168, 84, 80)
    shirt: Color = (168, 30, 44)
    stripe: Color = (34, 36, 78)
    placket: Color = (238, 228, 206)
    collar: Color = (120, 18, 32)
    emblem: Color = (246, 196, 64)
    trousers: Color = (30, 36, 52)
    crease: Color = (52, 60, 82)
    seam: Color = (232, 190, 96)
    belt: Color = (70, 44, 28)
    shoe: Color = (40, 26, 24)
    toe_cap: Color = (226, 222, 214)


USUAL = Outfit()


class Surface(NamedTuple):
    """The visible samples of the person."""

    material: np.ndarray  # (N,) places in MATERIALS
    along: np.ndarray  # (N,) 0 at the start of the part, 1 at its end
    normal: np.ndarray  # (3, N) world axes
    body_normal: np.ndarray  # (3, N) body axes
    body_place: np.ndarray  # (3, N) body axes


def colors(surface, outfit=USUAL):
    """Lit colors (N, 3), 0 to 255."""
    color = np.empty((len(surface.along), 3), np.float32)
    for material, paint in enumerate(PAINTS.values()):
        mine = surface.material == material
        if mine.any():
            color[mine] = paint(
                outfit,
                surface.along[mine],
                surface.body_normal[:, mine],
                surface.body_place[:, mine],
            )
    return np.clip(color * _brightness(surface.normal)[:, None], 0, 255)


def _brightness(normal):
    """One lamp from the left, the studio's own light from above and a little everywhere: (N,)."""
    lamp = np.maximum(0, (normal * LIGHT[:, None]).sum(axis=0))
    return 0.52 + 0.62 * lamp + 0.12 * normal[1]


def _paint(base, *layers):
    """Lay colors over a base where their masks say so: (N, 3)."""
    color = np.empty((len(layers[0][0]), 3), np.float32)
    color[:] = base
    for mask, layer in layers:
        color[mask] = layer
    return color


def _head(wears, along, normal, place):
    left, up, forward = place
    hair = (normal[2] < 0.20 - 0.25 * (up < -0.02)) | (normal[1] > 0.46)
    eyes = (np.abs(np.abs(left) - 0.040) < 0.020) & (np.abs(up - 0.012) < 0.014)
    mouth = (np.abs(left) < 0.035) & (np.abs(up + 0.075) < 0.010)
    front = forward > 0
    return _paint(
        wears.skin, (hair, wears.hair), (eyes & front, wears.eye), (mouth & front, wears.lip)
    )


def _shirt(wears, along, normal, place):
    left, up, _ = place
    stripe = (up / 0.19) % 1 < 0.45
    front = normal[2] > 0
    placket = front & (np.abs(left) < 0.026)
    button = placket & ((up / 0.095) % 1 < 0.2)
    emblem = ~front & (np.hypot(left, up + 0.17) < 0.095)  # on the back
    return _paint(
        wears.shirt,
        (stripe, wears.stripe),
        (placket, wears.placket),
        (button, wears.stripe),
        (emblem, wears.emblem),
        (up > 0.03, wears.collar),
    )


def _sleeve(wears, along, normal, place):
    return _paint(wears.shirt, ((along / 0.62) % 1 > 0.55, wears.stripe))


def _cuff(wears, along, normal, place):
    return _paint(
        wears.shirt, ((along > 0.25) & (along < 0.60), wears.stripe), (along > 0.86, wears.placket)
    )


def _trousers(wears, along, normal, place):
    stripe = np.abs(normal[0]) > 0.93
    crease = (normal[2] > 0.97) & (place[1] < -0.1)
    return _paint(
        wears.trousers, (crease, wears.crease), (stripe, wears.seam), (place[1] > 0.085, wears.belt)
    )


def _shoe(wears, along, normal, place):
    return _paint(wears.shoe, (along > 0.72, wears.toe_cap), (normal[1] < -0.45, wears.toe_cap))


def _skin(wears, along, normal, place):
    return np.tile(np.array(wears.skin, np.float32), (len(along), 1))


PAINTS = {
    "head": _head,
    "skin": _skin,
    "shirt": _shirt,
    "sleeve": _sleeve,
    "cuff": _cuff,
    "trousers": _trousers,
    "shoe": _shoe,
}
MATERIALS = tuple(PAINTS)
