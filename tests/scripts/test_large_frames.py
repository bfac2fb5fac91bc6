"""Frames of 128×256 from the demo's set to the page, as a user has them; tiny networks."""

import json
import shlex

import numpy as np
import pytest
from PIL import Image

import Tester
import Trainer
from demo.dance import make_dataset
from report.rollouts import read_rollout
from tests.support.hostile import call

WIDTHS = "--F_dim 8 --L_dim 4 --N_dim 4 --D_out_dim 8 --batch_size 3 --device cpu --threads 1"


@pytest.fixture(scope="module")
def large_set(tmp_path_factory):
    root = tmp_path_factory.mktemp("large") / "data"
    counts = {"train_frames": 16, "val_frames": 4, "test_sequences": 1, "sequence_length": 5}
    assert make_dataset(root, **counts, size=(128, 256))
    return root


def test_large_frames_are_trained_tested_and_shown(large_set, tmp_path):
    data, train, test = f"--DR {large_set} --cache_dir {tmp_path}", tmp_path / "r", tmp_path / "t"
    flags = f"{data} --save_root {train} --preset quick-large {WIDTHS} --num_epoch 1"
    code, said = call(Trainer, *shlex.split(flags))
    assert code == 0, said
    assert "memory" in said
    assert "a window" in said
    settings = json.loads((train / "settings.json").read_text())
    assert (settings["frame_H"], settings["frame_W"], settings["scales"]) == (128, 256, 3)

    flags = f"{data} --save_root {test} --ckpt_path {train} --device cpu"
    code, said = call(Tester, *shlex.split(flags))
    assert code == 0, said
    assert "no submission.csv: the lab's frames are 32×64" in said
    assert not (test / "submission.csv").exists()
    clips = read_rollout(test / "rollout_seq0.npz").clips
    assert {frames.shape for frames in clips.values()} == {(5, 128, 256, 3)}
    with Image.open(large_set / "test/test_gt/0/3.png") as image:
        np.testing.assert_array_equal(clips["truth"][3], np.asarray(image))
    with Image.open(test / "pose_pred_seq0.gif") as image:
        assert image.size == (513, 128)  # as large as they are
    assert (test / "report.html").stat().st_size < 15e6
