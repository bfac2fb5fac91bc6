"""The body that is posed by hand: it reaches, it keeps its lengths, it walks and moves."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.pose.camera import HEIGHT, WIDTH, project
from data.pose.moves import COLUMN
from data.pose.skeleton import FOREARM, HAND, JOINT, SHANK, SPINE, THIGH, UPPER_ARM
from player.body import HANDLES, MOVES, PACE, Body
from player.inverse_kinematics import on_sphere, two_bones, within_reach

BONES = {
    **{(f"shoulder_{s}", f"elbow_{s}"): UPPER_ARM for s in ("left", "right")},
    **{(f"elbow_{s}", f"wrist_{s}"): FOREARM for s in ("left", "right")},
    **{(f"wrist_{s}", f"hand_{s}"): HAND for s in ("left", "right")},
    **{(f"hip_{s}", f"knee_{s}"): THIGH for s in ("left", "right")},
    **{(f"knee_{s}", f"ankle_{s}"): SHANK for s in ("left", "right")},
    ("mid_hip", "neck"): SPINE,
}


def seen(body, joint):
    return project(body.joints()[JOINT[joint]])


def dragged(body, joint, place, frames=20):
    body.drag(joint, np.asarray(place, float))
    for _ in range(frames):
        body.advance()
    return body


def check_bones(body):
    joints = body.joints()
    assert np.isfinite(joints).all()
    for (start, end), length in BONES.items():
        found = np.linalg.norm(joints[JOINT[start]] - joints[JOINT[end]])
        assert found == pytest.approx(length, abs=1e-9), (start, end)


@pytest.mark.parametrize("joint", HANDLES)
@pytest.mark.parametrize("heading", [0, 60, 180, -120])
def test_a_joint_goes_where_it_is_dragged(joint, heading):
    """To a place that the limb reaches, within a pixel of the frame that the model sees."""
    body = Body.standing()
    body.row[COLUMN["heading"]] = body.base[COLUMN["heading"]] = body.facing = heading
    start = seen(body, joint)
    shift = {"nose": (2, 1), "neck": (5, 1), "mid_hip": (20, 0)}.get(joint, (4, -3))
    if joint == "nose" and heading in (180, -120):
        pytest.skip("no head turns that far")
    dragged(body, joint, start + shift, frames=60)
    away = np.abs(seen(body, joint) - (start + shift))
    assert away[0] < 2, away
    if joint not in ("mid_hip", "neck"):
        assert away[1] < 3, away
    check_bones(body)


def test_what_is_let_go_stays_where_it_was_put():
    body = Body.standing()
    there = seen(body, "wrist_left") + np.array([8, -22])
    dragged(body, "wrist_left", there).drop()
    before = body.joints()
    for _ in range(30):
        body.advance()
    np.testing.assert_allclose(body.joints(), before, atol=1e-9)
    assert np.abs(seen(body, "wrist_left") - there).max() < 1


def test_a_hand_that_is_pulled_away_takes_the_body_along():
    body = Body.standing(x=-1.2)
    goal = np.array([0.9 * WIDTH, 0.4 * HEIGHT])
    dragged(body, "wrist_left", goal, frames=75)
    assert abs(seen(body, "wrist_left")[0] - goal[0]) < 4
    check_bones(body)


def test_it_never_jumps_and_never_leaves_the_room():
    body = Body.standing()
    body.drag("mid_hip", np.array([3 * WIDTH, 0.0]))
    for meters in (1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1):
        body.come(meters)
        for _ in range(15):
            before = body._place()
            body.advance()
            assert np.hypot(*(body._place() - before)) <= PACE + 1e-9
            assert 2.2 < body.row[COLUMN["z"]] < 6.7


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("posed", [False, True])
def test_a_move_is_smooth_and_ends_standing(move, posed):
    body = Body.standing(x=0.6)
    if posed:
        dragged(body, "wrist_right", seen(body, "wrist_right") + np.array([-10, -30])).drop()
    frames = [body.joints()]
    body.move(move)
    while body.queue:
        body.advance()
        frames.append(body.joints())
        check_bones(body)
    assert 15 < len(frames) < 150
    steps = [np.abs(project(b) - project(a)).max() for a, b in pairwise(frames)]
    assert max(steps) < 10, "a joint jumps"
    assert np.abs(frames[-1] - frames[len(frames) // 2]).max() > 0.1 or move == "turn"
    if move == "jump":
        lowest = [joints[:, 1].min() for joints in frames]
        assert max(lowest) > 0.25
        assert abs(lowest[-1] - lowest[0]) < 0.02


actions = st.one_of(
    st.tuples(st.just("drag"), st.sampled_from(HANDLES), st.floats(-1, 2), st.floats(-1, 2)),
    st.tuples(st.just("drop")),
    st.tuples(st.just("come"), st.floats(-1, 1)),
    st.tuples(st.just("move"), st.sampled_from(list(MOVES))),
    st.tuples(st.just("advance"), st.integers(1, 12)),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(actions, max_size=12))
def test_whatever_is_done_bones_keep_their_lengths(done):
    body = Body.standing()
    for action, *arguments in done:
        if action == "drag":
            joint, x, y = arguments
            body.drag(joint, np.array([x * WIDTH, y * HEIGHT]))
            body.advance()
        elif action == "advance":
            for _ in range(arguments[0]):
                body.advance()
        else:
            getattr(body, action)(*arguments)
        check_bones(body)
        joints = body.joints()
        trunk = [JOINT[name] for name in ("mid_hip", "neck", "nose", "heel_left", "toe_right")]
        assert (joints[trunk, 1] > -0.001).all(), "below the floor"
        assert 1.5 < joints[JOINT["mid_hip"], 2] < 7.5


places = st.tuples(*[st.floats(-2, 2)] * 3).map(np.array)


@settings(max_examples=100, deadline=None)
@given(places, places, places)
def test_two_bones_keep_their_lengths_and_reach_what_they_can(root, target, bend):
    middle, end = two_bones(root, target, 0.3, 0.25, bend)
    assert np.linalg.norm(middle - root) == pytest.approx(0.3, abs=1e-6)
    assert np.linalg.norm(end - middle) == pytest.approx(0.25, abs=1e-6)
    distance = np.linalg.norm(target - root)
    if 0.06 < distance < 0.54:
        np.testing.assert_allclose(end, target, atol=1e-6)


@settings(max_examples=100, deadline=None)
@given(places, places, st.floats(0.1, 1.0), st.floats(0, 3))
def test_points_on_a_line_of_sight(direction, center, radius, depth):
    along = np.array([direction[0] / 4, direction[1] / 4, 1.0])
    start = np.array([0.0, 1.1, 0.0])
    point = on_sphere(start, along, center, radius, depth)
    assert np.linalg.norm(point - center) == pytest.approx(radius, abs=1e-6)
    point = within_reach(start, along, center, radius, depth)
    np.testing.assert_allclose(np.cross(point - start, along), 0, atol=1e-6)  # on the line
