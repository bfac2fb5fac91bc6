"""The made-up dance: its files, its independence of workers, its pictures, its refusals."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import demo.dance
from data.pose.camera import CAMERA, HEIGHT, WIDTH, Camera
from data.pose.picture import draw_pose
from data.pose.skeleton import JOINT
from demo.dance import make_dataset, recording
from demo.dataset import Refusal
from demo.figure import draw_person
from demo.scene import empty_studio

TINY = {"train_frames": 40, "val_frames": 12, "test_sequences": 2, "sequence_length": 12}


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo") / "dance"
    assert make_dataset(out, **TINY)
    return out


def files_of(root):
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file()
    }


def as_the_reader_sees(image):
    """A picture or pose image at the reader's size: (32, 64, 3), 0 to 255."""
    if not isinstance(image, Image.Image):
        image = Image.fromarray(np.rint(image).clip(0, 255).astype(np.uint8))
    return np.asarray(image.resize((64, 32), Image.Resampling.BILINEAR), np.float64)


def psnr(frame, truth):
    return 10 * np.log10(255**2 / max(np.mean((frame - truth) ** 2), 1e-2))


def test_layout(rendered):
    expected = {"demo.json", "train/cuts.txt", "test/test_img/0/0.png", "test/test_img/1/0.png"}
    counts = {"train/train": 40, "val/val": 12}
    for split, count in counts.items():
        expected |= {f"{split}_{kind}/{n}.png" for kind in ("img", "label") for n in range(count)}
    for kind in ("gt", "label"):
        expected |= {f"test/test_{kind}/{k}/{n}.png" for k in range(2) for n in range(12)}
    files = files_of(rendered)
    assert set(files) == expected
    assert files["test/test_img/1/0.png"] == files["test/test_gt/1/0.png"]
    cuts = [int(line) for line in files["train/cuts.txt"].split()]
    assert cuts == sorted(set(cuts))
    assert cuts[0] > 0
    assert cuts[-1] < 40
    for name in (name for name in files if name.endswith(".png")):
        with Image.open(rendered / name) as image:
            assert image.size == (WIDTH, HEIGHT)
            assert image.mode == "RGB"


def test_a_larger_size_shows_the_same_with_more_detail():
    """Its pictures, and its pose images, averaged to the usual size are the usual ones."""
    large = Camera(2 * HEIGHT, 2 * WIDTH)
    joints = recording(0, "test", 0, 1)[0]
    np.testing.assert_allclose(recording(0, "test", 0, 1, large)[0], joints, atol=1e-9)
    for draw, tolerance in ((draw_person, 1.5), (draw_pose, 1.5)):
        usual, twice = (np.asarray(draw(joints, c), float) for c in (CAMERA, large))
        assert twice.shape == (2 * HEIGHT, 2 * WIDTH, 3)
        averaged = twice.reshape(HEIGHT, 2, WIDTH, 2, 3).mean(axis=(1, 3))
        assert np.abs(averaged - usual).mean() < tolerance
        rows = twice.reshape(HEIGHT, 2, WIDTH, 2, 3)
        assert np.abs(rows - averaged[:, None, :, None]).mean() > 0.1  # no enlarged picture


def test_a_set_of_another_size_and_shape(tmp_path):
    counts = {"train_frames": 3, "val_frames": 2, "test_sequences": 1, "sequence_length": 2}
    assert make_dataset(tmp_path / "dance", **counts, size=(48, 40))
    assert json.loads((tmp_path / "dance/demo.json").read_text())["size"] == [48, 40]
    for name in ("train/train_img/2.png", "test/test_label/0/1.png"):
        with Image.open(tmp_path / "dance" / name) as image:
            assert image.size == (40, 48)
    with pytest.raises(Refusal, match="other arguments"):
        make_dataset(tmp_path / "dance", **counts)


def test_the_usual_set_says_nothing_of_its_size(rendered):
    assert "size" not in json.loads((rendered / "demo.json").read_text())


def test_the_workers_do_not_matter(rendered, tmp_path):
    assert make_dataset(tmp_path / "dance", **TINY, num_workers=2)
    assert files_of(tmp_path / "dance") == files_of(rendered)


def test_another_seed_and_every_sequence_move_otherwise():
    streams = [(0, "train", 0), (1, "train", 0), (0, "train", 1), (0, "val", 0), (0, "test", 0)]
    first_poses = [recording(*stream, frames=1) for stream in streams]
    for index, pose in enumerate(first_poses):
        assert all(np.abs(pose - other).max() > 0.05 for other in first_poses[:index])


def test_motion_is_smooth_and_stands_on_the_floor():
    joints = recording(0, "train", 0, 600)
    assert np.abs(np.diff(joints, axis=0)).max() < 0.2  # meters a frame: 6 m/s, a swung hand
    assert np.abs(np.diff(joints, n=2, axis=0)).max() < 0.05
    assert 0 <= joints[..., 1].min() < 0.05
    assert joints[..., 2].min() > 1  # in front of the camera


def test_pose_images():
    joints = recording(0, "test", 0, 1)[0]
    pose = np.asarray(draw_pose(joints), int)
    ink = pose.min(axis=-1) < 250
    assert 0.005 < ink.mean() < 0.15
    assert (pose[ink].max(axis=-1) - pose[ink].min(axis=-1)).max() > 100
    away = joints + np.array([20.0, 0.0, 0.0])
    assert (np.asarray(draw_pose(away)) == 255).all()
    assert np.array_equal(draw_person(away), empty_studio())


def test_pose_images_tell_front_from_back():
    joints = recording(0, "test", 0, 1)[0]
    middle = joints[JOINT["mid_hip"]]
    about_face = middle + (joints - middle) * (-1, 1, -1)
    front, back = sorted((joints, about_face), key=lambda pose: pose[JOINT["nose"], 2])
    neck_row = int(np.argmax((np.asarray(draw_pose(back)) < 250).any(axis=(1, 2))))
    assert (np.asarray(draw_pose(front))[:neck_row] < 250).any()  # a face above the neck
    assert not np.array_equal(draw_pose(front), draw_pose(back))


@pytest.mark.parametrize(("split", "index"), [("val", 0), *(("test", k) for k in range(5))])
def test_copying_the_first_frame_scores_low(split, index):
    frames = recording(0, split, index, 630)[: 600 + 1 : 12]
    first, *later = (as_the_reader_sees(draw_person(joints)) for joints in frames)
    assert np.mean([psnr(first, frame) for frame in later]) < 22


def test_the_same_set_is_not_rendered_again(rendered):
    before = (rendered / "demo.json").stat().st_mtime_ns
    assert not make_dataset(rendered, **TINY)
    assert (rendered / "demo.json").stat().st_mtime_ns == before


def test_a_set_of_other_arguments_is_refused(rendered):
    with pytest.raises(Refusal, match="other arguments"):
        make_dataset(rendered, **TINY, seed=1)
    assert json.loads((rendered / "demo.json").read_text())["seed"] == 0


def test_a_foreign_folder_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(Refusal, match="not a demo"):
        make_dataset(tmp_path, **TINY)
    assert list(files_of(tmp_path)) == ["thesis.txt"]


def test_an_interrupted_run_leaves_nothing(tmp_path, monkeypatch):
    def stop(joints, camera, lost):
        raise KeyboardInterrupt

    monkeypatch.setattr(demo.dance, "draw_pose", stop)
    with pytest.raises(KeyboardInterrupt):
        make_dataset(tmp_path / "dance", **TINY)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments",
    [
        ["--sequence_length", "-3"],
        ["--train_frames", "0"],
        ["--num_workers", "-1"],
        ["--seed", "-1"],
        ["--test_sequences", "many"],
        ["--size", "128"],
        ["--size", "128x4"],
        ["--size", "2048x64"],
    ],
)
def test_the_command_refuses_bad_numbers(tmp_path, arguments):
    command = [sys.executable, "-m", "demo.dance", "--out", tmp_path / "dance", *arguments]
    root = Path(demo.dance.__file__).parents[1]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 2
    assert arguments[0] in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_making_data_does_not_import_torch():
    """It would take seconds and memory in every process that renders."""
    code = (
        "import sys, demo.categories, demo.dance, demo.film, demo.robot\n"
        "import data.transfer.__main__, data.video.__main__\n"
        "sys.exit('torch' in sys.modules)"
    )
    root = Path(demo.dance.__file__).parents[1]
    assert subprocess.run([sys.executable, "-c", code], cwd=root).returncode == 0
