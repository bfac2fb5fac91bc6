"""The film of somebody new: what is written, how an estimator errs, and that it is mended."""

import json

import numpy as np
import pytest

from data.estimates import openpose
from data.estimates.following import follow, swap_back
from data.pose.camera import Camera
from data.pose.skeleton import JOINT, SIDES
from data.video.film import open_film
from demo.dance import recording
from demo.dataset import Refusal
from demo.estimator import estimated
from demo.figure import draw_person
from demo.film import DANCER, LOOK, make_film, performance

CAMERA = Camera(64, 128)
LIMBS = [
    JOINT[f"{joint}_{side}"] for side in SIDES for joint in ("elbow", "wrist", "knee", "ankle")
]


def test_the_films(tmp_path):
    tiny = {"frames": 9, "test_frames": 5, "size": (64, 128)}
    assert make_film(tmp_path / "film", **tiny)
    assert not make_film(tmp_path / "film", **tiny)
    with pytest.raises(Refusal, match="other arguments"):
        make_film(tmp_path / "film", **tiny | {"frames": 8})
    film = open_film(tmp_path / "film/take1.mp4")
    frames = list(film.frames())
    assert (film.width, film.height, film.rate, len(frames)) == (128, 64, 30, 9)
    for name, length in (("take1", 9), ("take2", 5), ("other", 5)):
        files = sorted((tmp_path / "film" / f"{name}_poses").iterdir())
        assert len(files) == length
        assert json.loads(files[0].read_text())["version"] == 1.3
    # The film shows the performance that the poses are of.
    joints = performance(0, 0, 9, DANCER, CAMERA)
    truth = draw_person(joints[4], CAMERA, LOOK)
    assert np.abs(frames[4] - truth).mean() < 8  # the chroma of a film is coarse
    # … in another room than the demo's, by somebody smaller.
    assert np.abs(truth - draw_person(joints[4], CAMERA)).mean() > 20
    other = recording(0, "train", 0, 9, CAMERA)
    assert np.ptp(joints[..., 1], axis=1).max() < np.ptp(other[..., 1], axis=1).max()


@pytest.fixture(scope="module")
def estimates():
    """A dance of 900 frames, joints in the picture, and what the estimator says of it."""
    joints = performance(1, 0, 900, DANCER, CAMERA)
    files = [json.loads(text) for text in estimated(np.random.default_rng(0), joints, CAMERA)]
    return CAMERA.project(joints), openpose.read(files), files


def test_an_estimator_errs(estimates):
    truth, read, files = estimates
    assert any(len(file["people"]) > 1 for file in files)
    found = follow(read, len(truth), confidence=0.2)
    seen = np.isfinite(found[:, JOINT["mid_hip"], 0])
    off = np.linalg.norm(found - truth, axis=-1)
    assert np.nanmedian(off) < 1
    assert 0.01 < np.isnan(found[seen][:, LIMBS, 0]).mean() < 0.3
    # Nobody takes the small figure on the wall for the dancer.
    assert np.nanmax(off[:, JOINT["neck"]]) < 5


def test_swapped_sides_are_mended(estimates):
    truth, read, _ = estimates
    found = follow(read, len(truth), confidence=0.2)
    mended, _ = swap_back(found)

    def wrong(places):
        """Frames in which knees lie clearly nearer to each other's place."""
        knees = [JOINT["knee_right"], JOINT["knee_left"]]
        own = np.linalg.norm(places[:, knees] - truth[:, knees], axis=-1).sum(1)
        others = np.linalg.norm(places[:, knees] - truth[:, knees[::-1]], axis=-1).sum(1)
        apart = np.linalg.norm(truth[:, knees[0]] - truth[:, knees[1]], axis=-1)
        return int(((own > others) & (apart > 2)).sum())

    assert wrong(found) >= 10
    assert wrong(mended) < 0.3 * wrong(found)
