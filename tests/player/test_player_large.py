"""A dancer of 128×256: what the model is told is drawn at that size, and hands reach there."""

import numpy as np
import torch

from data.pose.camera import Camera
from data.pose.picture import draw_pose
from data.pose.skeleton import JOINT
from demo import starts as demo
from demo.figure import draw_person
from engine.checkpoints.checkpoint import DEMO
from modules.vae import CVAE, CVAEConfig
from player import model as models
from player.protocol import FRAME, pack_frame
from player.starts import DanceStart
from player.worlds import DanceWorld
from tests.support import ROOT

H, W = 128, 256
LARGE = Camera(H, W)


def world() -> DanceWorld:
    torch.manual_seed(0)
    sizes = {"F_dim": 8, "L_dim": 4, "N_dim": 4, "D_out_dim": 8, "patch_size": 2, "scales": 3}
    model = CVAE(CVAEConfig(**sizes, frame_H=H, frame_W=W))
    compute = models.choose_compute(torch.device("cpu"), "fp32", "off")
    compute.prepare(model.eval())
    played = models.PlayedModel(
        "dance", model, compute, {}, H, W, 1, "large", DEMO, ROOT / "large.ckpt"
    )
    name, frame, rows = next(demo.dances(H, W))
    return DanceWorld(played, starts=[DanceStart(name, frame, motion=rows)])


def test_pose_image_and_first_frame_are_those_of_the_demo_at_that_size():
    dancer = world()
    shown = dancer.look()
    joints = dancer.body.joints()
    np.testing.assert_array_equal(shown.pictures[1], np.asarray(draw_pose(joints, LARGE)))
    filmed = np.rint(draw_person(joints, LARGE)).clip(0, 255)
    assert np.abs(shown.pictures[0] - filmed).mean() < 1  # he sways a little


def test_a_hand_is_dragged_to_where_it_is_shown():
    dancer = world()
    aim = np.array([0.62, 0.3])
    dancer.act({"do": "drag", "joint": "wrist_left", "x": aim[0], "y": aim[1], "n": 1})
    for _ in range(30):
        shown = dancer.step()
    assert shown.predicted
    place = shown.overlay.reshape(-1, 2)[JOINT["wrist_left"]]
    assert np.abs(place - aim).max() < 0.03
    np.testing.assert_allclose(
        place * (W, H), LARGE.project(dancer.body.joints())[JOINT["wrist_left"]], atol=1e-3
    )


def test_a_packed_moment_holds_both_pictures():
    packed = pack_frame(world().step(), 1.0, 0)
    assert len(packed) == FRAME.size + 4 * 50 + 2 * H * W * 3
