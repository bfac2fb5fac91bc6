"""Rendering the table from above: wood, shadows, objects, and an arm of two links."""

from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

from demo.pushing import COLORS, HAND

SIZE = 64  # pixels of the picture, both ways
SAMPLES = 4  # rendered so many times larger and averaged
SHADOW = (0.10, 0.13)  # where the shadow of a height of 1 falls
SHOULDER = np.array([0.0, -1.25])  # the arm reaches in from beyond the upper edge
LINKS = (1.15, 1.15)  # lengths of upper arm and forearm
LINK_WIDTHS = (0.26, 0.20)
STEEL, JOINT, FINGER = (70, 74, 84), (212, 106, 30), (40, 42, 48)


def draw_table(table):
    """One frame of a `demo.pushing.Table`: (64, 64, 3) uint8."""
    picture = _wood().copy()
    pen = ImageDraw.Draw(picture, "RGBA")
    for thing in table.things:
        _draw_thing(pen, thing)
    _draw_arm(pen, table)
    return np.asarray(picture.reduce(SAMPLES))


@lru_cache
def _wood():
    """The bare table: planks with a grain, darker towards the rim."""
    side = np.linspace(-1, 1, SIZE * SAMPLES)
    x, y = np.meshgrid(side, side)
    plank = np.floor((y + 1) / 0.4)
    grain = np.sin(9 * y + 2.5 * np.sin(2.1 * x + 1.7 * plank)) * np.sin(31 * y + 3 * plank)
    shade = 1 + 0.05 * np.sin(plank * 12.9) + 0.03 * grain - 0.12 * np.maximum(abs(x), abs(y)) ** 6
    shade[np.abs((y + 1) / 0.4 - plank) < 0.03] *= 0.85
    color = shade[..., None] * np.array([206.0, 178.0, 138.0])
    return Image.fromarray(color.clip(0, 255).astype(np.uint8))


def _pixels(places):
    """Places on the table (..., 2) in pixels of the enlarged picture, as tuples."""
    return [tuple(p) for p in (np.reshape(places, (-1, 2)) + 1) * (SIZE * SAMPLES / 2)]


def _disc(pen, place, radius, fill):
    (left, top), (right, bottom) = _pixels([np.subtract(place, radius), np.add(place, radius)])
    pen.ellipse((left, top, right, bottom), fill=fill)


def _bar(pen, start, end, width, fill):
    """A thick line with round ends."""
    along = np.subtract(end, start)
    across = np.array([-along[1], along[0]]) / (np.hypot(*along) + 1e-9) * width / 2
    pen.polygon(_pixels([start + across, end + across, end - across, start - across]), fill=fill)
    for place in (start, end):
        _disc(pen, place, width / 2, fill)


def _draw_thing(pen, thing):
    color = COLORS[thing.faces[0]]
    dark = tuple(int(0.55 * c) for c in color)
    _disc(pen, thing.place + 0.35 * np.array(SHADOW), thing.size, (40, 30, 20, 70))
    if thing.round:
        _disc(pen, thing.place, thing.size, dark)
        _disc(pen, thing.place - 0.02, 0.8 * thing.size, color)
        return
    corners = np.pi / 4 + np.pi / 2 * np.arange(4) + thing.angle
    square = np.stack([np.cos(corners), np.sin(corners)], axis=1) * thing.size
    pen.polygon(_pixels(thing.place + square), fill=dark)
    pen.polygon(_pixels(thing.place - 0.02 + 0.8 * square), fill=color)


def _draw_arm(pen, table):
    """Shadow and arm; the higher the hand, the further away its shadow and the larger it looks."""
    place, height = table.hand[:2], table.hand[2]
    elbow = _elbow(place)
    for shift, fill in ((np.array(SHADOW) * (0.3 + height), (30, 24, 18, 80)), (0.0, None)):
        _bar(pen, SHOULDER + shift, elbow + shift, LINK_WIDTHS[0], fill or STEEL)
        _bar(pen, elbow + shift, place + shift, LINK_WIDTHS[1], fill or STEEL)
        _disc(pen, place + shift, HAND * (1 + 0.35 * height), fill or JOINT)
    _disc(pen, elbow, 0.5 * LINK_WIDTHS[0] * 0.8, JOINT)
    along = (place - elbow) / np.hypot(*(place - elbow))
    across = np.array([-along[1], along[0]])
    for side in (-1, 1):
        root = place + side * (0.05 + 0.12 * table.grip) * across
        _bar(pen, root, root + 0.20 * along, 0.06, FINGER)


def _elbow(place):
    """Where the elbow is when the hand is at `place`: it always bends to the left."""
    towards = place - SHOULDER
    distance = np.hypot(*towards)
    upper, fore = LINKS
    cosine = (upper**2 + distance**2 - fore**2) / (2 * upper * distance)
    bend = np.arccos(np.clip(cosine, -1, 1))
    angle = np.arctan2(towards[1], towards[0]) + bend
    return SHOULDER + upper * np.array([np.cos(angle), np.sin(angle)])
