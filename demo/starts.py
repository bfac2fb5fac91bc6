"""Beginnings to play from where there is no data set: dances of the demo, and its tables."""

import numpy as np
from PIL import Image

from data.pose.camera import camera_for
from data.pose.moves import STANDING
from data.pose.skeleton import joints_of
from demo.figure import render_frame
from demo.motion import dance
from demo.pushing import REACH, STEP, play
from demo.table import draw_table

DANCES = 5
DANCE_FRAMES = 630
TABLES = 6
SEED = 1000  # of no data set that a model was trained on


def dances(height, width):
    """Yield (name, first frame (H, W, 3) uint8, motion (T, C)), the first who only stands."""
    still = np.array(list((STANDING | {"z": 4.6}).values()))
    yield "stand", _filmed(still, height, width), still[None]
    for number in range(DANCES):
        motion = dance(np.random.default_rng([SEED, number]), DANCE_FRAMES)
        yield f"dance {number + 1}", _filmed(motion[0], height, width), motion


def _filmed(row, height, width):
    """The picture of a row of channels, at the model's size as the reader resizes it."""
    picture = render_frame(joints_of(row[None])[0], camera_for(height, width))
    image = Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(image)


def tables(n_past):
    """Yield (name, known frames (n_past, 64, 64, 3), conditions (n_past, 7), hand (3,), grip)."""
    for number in range(TABLES):
        states, actions, positions = play(np.random.default_rng([SEED, number]), n_past)
        causes = np.concatenate([actions, positions], axis=1).astype(np.float32)
        conditions = np.concatenate([np.zeros_like(causes[:1]), causes[: n_past - 1]])
        frames = np.stack([draw_table(state) for state in states[:n_past]])
        grip = float(actions[n_past - 1, 3])
        yield f"table {number + 1}", frames, conditions, positions[n_past - 1], grip


def reach():
    """What a command does to the demo's arm, and what of it is in the picture.

    Returns step, strongest command, lowest and highest place, the gripper's two commands, and the
    places in the upper left and lower right corner of the picture.
    """
    return STEP, np.ones(3), REACH[0], REACH[1], (-1.0, 1.0), -np.ones(2), np.ones(2)
