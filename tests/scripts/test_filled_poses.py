"""Pose images completed before the rollout (--fill_poses), as a user has it; and refusals."""

import numpy as np
import pytest
import torch
from PIL import Image

import Tester
from data.pose.camera import project
from data.pose.colors import LIMBS
from data.pose.rendering import DEMO_STYLE, ENDS, render
from data.pose.skeleton import joints_of
from demo.motion import dance
from tests.support.hostile import call
from tests.support.playing import PRETRAINED


@pytest.fixture
def lost(root):
    """The small data set with poses in its test sequence of 6 frames, two of them white."""
    (places,) = project(joints_of(dance(np.random.default_rng(0), 1)))
    low, high = places.min(axis=0), places.max(axis=0)
    places = (places - (low + high) / 2) * 22 / (high - low)[1] + (32, 16)
    limbs = (torch.arange(len(ENDS)) < len(LIMBS))[None]
    pose = render(torch.from_numpy(places).float()[None], limbs, 32, 64, DEMO_STYLE)[0]
    pose = (255 * pose).round().byte().permute(1, 2, 0).numpy()
    for number in range(6):
        shown = np.full_like(pose, 255) if number in (2, 3) else pose
        Image.fromarray(shown).save(root / f"test/test_label/0/{number}.png")
    return root


def tested(root, out, *flags) -> tuple[bytes, str]:
    """Run the Tester; return its picture of the sequence with its poses, and what it said."""
    run = ("--ckpt_path", PRETRAINED / "dance.safetensors", "--device", "cpu")
    code, said = call(Tester, "--DR", root, "--save_root", out, "--no_report", *run, *flags)
    assert code == 0, said
    return (out / "pose_pred_seq0.gif").read_bytes(), said


def test_two_frames_are_completed(lost, own_cache, tmp_path):
    as_it_is, silent = tested(lost, tmp_path / "a")
    too_long, none = tested(lost, tmp_path / "b", "--fill_poses", "1")
    filled, said = tested(lost, tmp_path / "c", "--fill_poses", "2")
    assert "pose images" not in silent
    assert "pose images completed: 0 of 6 of sequence 0" in none
    assert "pose images completed: 2 of 6 of sequence 0" in said
    assert as_it_is == too_long != filled


def test_a_negative_number_is_refused(refused, root, ours, tmp_path):
    flags = ("--DR", root, "--save_root", tmp_path / "out", "--fill_poses", "-1")
    assert "-1 must be at least 0" in refused(Tester, *flags, "--ckpt_path", ours)


def test_the_robot_has_no_poses(refused, root, tmp_path):
    flags = ("--DR", root, "--save_root", tmp_path / "out", "--fill_poses", "5")
    said = refused(Tester, *flags, "--ckpt_path", PRETRAINED / "robot.safetensors")
    assert "--fill_poses is for --model cvae" in said
