"""What the tests by category hold back from training, and what their sequences show."""

import csv

import numpy as np
import pytest
from PIL import Image

from data.pose.moves import COLUMN, GESTURES, KNEEL
from data.pose.picture import draw_pose
from data.pose.skeleton import JOINT, joints_of
from demo.categories import (
    CLOSE,
    CLOSE_UPS,
    KNEELING,
    LOST,
    NONE,
    PLAIN,
    STRETCH,
    TABLE,
    TESTS,
    TRAINING,
    TURNED,
    lost_in_stretches,
    make_dataset,
    outside,
    sequence,
)
from demo.motion import EVERYTHING, dance, dance_of

FRAMES = 400


def test_a_dance_of_everything_is_the_demos_own():
    motion, held = dance_of(np.random.default_rng(3), 200, EVERYTHING)
    assert np.array_equal(motion, dance(np.random.default_rng(3), 200))
    assert held.shape == (200,)
    assert set(np.unique(held == 0)) == {True, False}


def test_every_gesture_is_of_one_kind():
    kinds = (PLAIN, KNEELING, TURNED)
    assert sorted(map(str, GESTURES)) == sorted(str(g) for kind in kinds for g in kind)
    assert KNEEL in KNEELING
    assert [len(kind) for kind in kinds] == [6, 3, 5]


def elbows_and_knees(joints):
    """Height of the higher elbow over the neck, and of the lower knee over the floor, by frame."""
    elbows = joints[:, [JOINT["elbow_right"], JOINT["elbow_left"]], 1].max(axis=1)
    knees = joints[:, [JOINT["knee_right"], JOINT["knee_left"]], 1].min(axis=1)
    return elbows - joints[:, JOINT["neck"], 1], knees


def test_training_holds_nothing_of_what_is_tested():
    motion, _ = dance_of(np.random.default_rng(0), 1500, TRAINING)
    joints = joints_of(motion)
    elbows, knees = elbows_and_knees(joints)
    assert motion[:, COLUMN["z"]].min() > CLOSE + 0.3
    assert knees.min() > 0.3
    assert elbows.max() < 0.13


@pytest.mark.parametrize("category", TESTS)
def test_a_sequence_has_its_category_and_no_other(category):
    joints, shown = sequence(0, category, FRAMES)
    assert len(joints) == len(shown) == FRAMES
    elbows, knees = elbows_and_knees(joints)
    near = joints[:, JOINT["mid_hip"], 2] < CLOSE
    assert 0.1 < shown.mean() < 0.9 or category == NONE
    assert near.any() == (category in (CLOSE_UPS, LOST))
    assert (knees < 0.25).any() == (category == "kneeling")
    assert (elbows > 0.15).any() == (category == "turned limbs")


def test_lost_joints_come_in_stretches():
    shown = np.ones(2000, bool)
    shown[:50] = False
    lost = [bool(names) for names in lost_in_stretches(np.random.default_rng(0), shown)]
    assert not any(lost[:50])
    assert 0.4 < np.mean(lost[50:]) < 0.6
    edges = np.flatnonzero(np.diff(np.r_[0, lost, 0]))
    lengths = (edges[1::2] - edges[::2])[:-1]  # the end cuts the last one short
    assert lengths.min() >= STRETCH[0]
    assert lengths.max() <= STRETCH[1]


def test_a_limb_without_its_joint_is_not_drawn():
    joints, _ = sequence(0, NONE, 2)
    whole, none = (np.asarray(draw_pose(joints[0], lost=lost)) for lost in ((), set(JOINT)))
    arm = np.asarray(draw_pose(joints[0], lost={"elbow_left"}))
    assert (none == 255).all()
    assert (arm >= whole).mean() > 0.99
    assert (arm != whole).any()
    assert not outside(joints[0])


def test_the_data_set_has_tables_and_truth(tmp_path):
    assert make_dataset(tmp_path / "a", train_frames=4, sequence_length=3)
    assert not make_dataset(tmp_path / "a", train_frames=4, sequence_length=3)
    with (tmp_path / "a/test" / TABLE).open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * len(TESTS)
    assert [row["category"] for row in rows[::3]] == list(TESTS)
    for k in range(len(TESTS)):
        assert len(list((tmp_path / f"a/test/test_gt/{k}").iterdir())) == 3
    same = [Image.open(tmp_path / f"a/test/test_gt/{k}/2.png").tobytes() for k in (0, 1)]
    assert same[0] == same[1]  # the same dance, with and without limbs lost
