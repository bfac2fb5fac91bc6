"""One person out of what an estimator saw, and the poses and the video that they are of."""

import numpy as np
import pytest

from core.errors import UserError
from data.estimates import openpose
from data.estimates.alignment import check_length, counted_from_0, in_picture
from data.estimates.following import follow, swap_back
from data.estimates.keypoints import Estimates
from data.pose.gaps import fill_gaps
from data.pose.skeleton import JOINT
from tests.support import estimators as theirs
from tests.support.estimators import SIZE


@pytest.fixture
def truth():
    return theirs.danced(4)


def crowd(*people):
    """Estimates of people (T, J, 2) who are all in every frame, the last ones first."""
    frames = {}
    for number in range(len(people[0])):
        content = [
            {"pose_keypoints_2d": theirs.keypoints(places[number], "BODY_25").reshape(-1).tolist()}
            for places in reversed(people)
        ]
        frames |= {number: openpose.read([{"people": content}]).frames[0]}
    return Estimates("test", frames, len(frames))


@pytest.fixture
def steady(truth):
    return np.repeat(truth[:1], 20, axis=0) + np.arange(20)[:, None, None] * [1.0, 0.0]


def test_the_largest_is_followed_and_the_one_asked_for(steady):
    small = (steady - steady.mean()) * 0.4 + [60, 300]
    crossing = small + np.arange(20)[:, None, None] * [18.0, 0.0]
    both = crowd(crossing, steady)
    known = JOINT["neck"]
    assert np.allclose(follow(both, 20)[:, known], steady[:, known], atol=0.01)
    # … also where somebody small is all that is seen at first: a picture on the wall.
    late = Estimates(
        "test", {n: people[: 1 + (n > 4)] for n, people in crowd(steady, small).frames.items()}
    )
    assert np.allclose(follow(late, 20)[6:, known], steady[6:, known], atol=0.01)
    # The first from the left stays so, also after they have crossed.
    assert np.allclose(follow(both, 20, person=1)[:, known], crossing[:, known], atol=0.01)
    with pytest.raises(UserError, match="--person 3: no frame has more than 2"):
        follow(both, 20, person=3)


def test_confidence_leaves_a_joint_out(steady):
    estimates = crowd(steady)
    (person,) = estimates.frames[0]
    person.confidence[JOINT["wrist_left"]] = 0.15
    found = follow(estimates, 20, confidence=0.2)
    assert np.isnan(found[0, JOINT["wrist_left"]]).all()
    assert np.isfinite(found[1:, JOINT["wrist_left"]]).all()


def test_gaps_are_filled_up_to_a_length(steady):
    places = steady.copy()
    places[4:7] = np.nan
    places[10:14, JOINT["nose"]] = np.nan
    filled, frames = fill_gaps(places, 3)
    assert frames == 3
    assert np.allclose(filled[4:7], steady[4:7])
    assert np.isnan(filled[10:14, JOINT["nose"]]).all()
    assert np.isnan(
        fill_gaps(np.where(np.arange(20)[:, None, None] < 2, np.nan, steady), 3)[0][0]
    ).all()


def test_sides_that_were_swapped_for_some_frames(steady):
    legs = [
        [JOINT[f"{j}_{s}"] for j in ("hip", "knee", "ankle", "heel", "toe")]
        for s in ("right", "left")
    ]
    places = steady.copy()
    for frames in (slice(3, 5), slice(9, 14)):
        places[frames, legs[0]], places[frames, legs[1]] = (
            steady[frames, legs[1]],
            steady[frames, legs[0]],
        )
    mended, count = swap_back(places)
    assert count == 7
    assert np.allclose(mended, steady, equal_nan=True)


def test_who_turns_around_is_left_as_they_are(truth):
    """Sides pass through each other, as of somebody who turns: nothing jumps, nothing is mended."""
    turn = np.linspace(1, -1, 60)[:, None]
    places = np.repeat(truth[:1], 60, axis=0)
    middle = np.nanmean(places[..., 0])
    places[..., 0] = middle + (places[..., 0] - middle) * turn
    assert swap_back(places)[1] == 0


# --------------------------------------------------------------------------- and the video


def test_poses_of_another_picture(truth, tmp_path):
    path = tmp_path
    estimates = Estimates("test", crowd(truth[:1] * 3).frames, 1)
    with pytest.raises(UserError, match="--pose_size HEIGHTxWIDTH"):
        in_picture(estimates, *SIZE, path, None)
    scaled = in_picture(estimates, *SIZE, path, (3 * SIZE[1], 3 * SIZE[0]))
    assert np.allclose(scaled.frames[0][0].places, follow(crowd(truth[:1]), 1)[0], equal_nan=True)


def test_poses_of_another_length(tmp_path):
    frames = {number: [] for number in range(100)}
    video = tmp_path / "clip.mp4"
    for length, decoded in ((100, 100), (100, 102), (100, 98), (None, 2000)):
        check_length(Estimates("test", frames, length), decoded, tmp_path, video)
    for length, decoded in ((100, 103), (100, 97), (None, 97)):
        with pytest.raises(UserError, match=r"100 frames for the \d+ of clip.mp4"):
            check_length(Estimates("test", frames, length), decoded, tmp_path, video)


def test_frames_counted_from_1(tmp_path):
    counted = Estimates("test", {number: [] for number in range(1, 31)})
    assert set(counted_from_0(counted, 30, tmp_path).frames) == set(range(30))
    assert set(counted_from_0(counted, 0, tmp_path).frames) == set(range(30))
    assert set(counted_from_0(counted, 31, tmp_path).frames) == set(range(1, 31))
    with pytest.raises(UserError, match="number them from 0"):
        counted_from_0(Estimates("test", {10**9: []}), 30, tmp_path)
