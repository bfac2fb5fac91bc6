"""What is played is what the Tester predicts, bit for bit; recordings are files it takes."""

import asyncio
import io
import zipfile

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import Tester
from data.types import Clip
from engine.evaluation.rollout import rollout
from player import model as models
from player.arm import Arm, reach_of
from player.recording import Recording
from player.starts import DanceStart
from player.worlds import SAMPLES
from tests.support.hostile import call
from tests.support.playing import PRETRAINED, opened, serving, tiny, world_of


@pytest.fixture(scope="module")
def dancer() -> models.PlayedModel:
    return models.load(str(PRETRAINED / "dance.safetensors"), "cpu")


@pytest.fixture(scope="module")
def robot() -> models.PlayedModel:
    return models.load(str(PRETRAINED / "robot.safetensors"), "cpu")


@pytest.mark.parametrize("z", ["mean", "sample"])
def test_the_frames_of_a_dance_are_those_of_rollout(dancer, z):
    """A hundred frames with the hand in it, among them drags and a move."""
    world = world_of(dancer)[0]()
    world.act({"do": "latent", "z": z, "temperature": 0.7})
    frames, poses = [world.known[0, 0]], [world.pose]
    for number in range(99):
        if number % 20 == 10:
            world.act(
                {"do": "drag", "joint": "wrist_left", "x": 0.1 + number / 120, "y": 0.2, "n": 1}
            )
        if number == 60:
            world.act({"do": "move", "name": "kneel", "n": 2})
        world.step()
        frames.append(world.known[-1, 0])
        poses.append(world.pose)
    clip = Clip("played", as_images(frames[:1]), as_images(poses))
    (expected,) = rollout(
        dancer.model, [clip], compute=dancer.compute, z=z, temperature=0.7, seed=0
    )
    assert torch.equal(expected, as_images(frames))
    assert len({frame.tobytes() for frame in frames}) > 60, "nothing moved"


@pytest.mark.parametrize("z", ["mean", "sample"])
def test_the_samples_of_a_robot_are_those_of_rollout(robot, z):
    world = world_of(robot)[0]()
    world.act({"do": "latent", "z": z, "temperature": 1.0})
    frames, conditions = list(world.known), list(world.conditions)
    for number in range(40):
        world.act({"do": "aim", "x": 0.2 + 0.6 * (number % 9 > 4), "y": 0.4, "n": number})
        world.act({"do": "lower", "on": number % 4 > 1, "n": number})
        world.step()
        frames.append(world.known[-1])
        conditions.append(world.conditions[-1])
    conditions = torch.from_numpy(np.stack(conditions))
    clips = [
        Clip(str(k), as_images([f[k] for f in frames[:2]]), conditions, n_past=2)
        for k in range(SAMPLES)
    ]
    found = rollout(
        robot.model, clips, compute=robot.compute, z=z, draws=[(k, 0) for k in range(SAMPLES)]
    )
    played = np.stack(frames, axis=1)
    # In the page the known frames take no noise in: what follows a sample of theirs may differ.
    if z == "mean":
        for k in range(SAMPLES):
            assert torch.equal(found[k], as_images(played[k])), k
    else:
        assert len({played[k].tobytes() for k in range(SAMPLES)}) == SAMPLES


def as_images(frames) -> torch.Tensor:
    return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)


# ------------------------------------------------------------------- recordings


def recorded(running, *, kinds=("sequence",), steps=25, acts=()) -> dict[str, bytes]:
    """Play, record in the middle of it, and return the files by kind."""

    async def play() -> dict[str, bytes]:
        async with opened(running) as page:
            await page.do("play", on=False)
            await page.do("latent", z="mean", temperature=1)
            for _ in range(4):
                await page.do("step")
            await page.do("record", on=True)
            for number in range(steps):
                if number < len(acts):
                    await page.do(**acts[number])
                await page.do("step")
                await page.frame(predicted=True)
            await page.do("record", on=False)
            await page.until(lambda m: isinstance(m, dict) and m.get("recorded", 0) > 2)
            files = {}
            for kind in kinds:
                await page.do("save", kind=kind)
                files[kind] = (await page.until(lambda m: isinstance(m, bytes)))[4:]
            return files

    return asyncio.run(play())


def test_a_recorded_dance_is_a_test_sequence_that_the_tester_predicts_alike(dancer, tmp_path):
    acts = [{"word": "drag", "joint": "wrist_left", "x": 0.9, "y": 0.1, "n": 1}]
    with serving(dancer) as running:
        files = recorded(running, kinds=("sequence", "gif", "mp4"), acts=acts)
    zipfile.ZipFile(io.BytesIO(files["sequence"])).extractall(tmp_path / "data")
    played = sorted((tmp_path / "data/played/0").glob("*.png"), key=lambda p: int(p.stem))
    assert len(played) > 20
    code, said = call(
        Tester, "--DR", tmp_path / "data", "--GT", tmp_path / "data/played", "--save_root",
        tmp_path / "out", "--ckpt_path", PRETRAINED / "dance.safetensors", "--z", "mean",
        "--precision", "fp32", "--device", "cpu", "--no_report",
    )  # fmt: skip
    assert code == 0, said
    rows = pd.read_csv(tmp_path / "out/submission.csv", index_col="id").to_numpy()
    frames = np.stack([np.asarray(Image.open(path)).transpose(2, 0, 1) for path in played])
    np.testing.assert_array_equal(rows.reshape(frames.shape), frames)

    gif = Image.open(io.BytesIO(files["gif"]))
    assert gif.is_animated
    assert gif.size[0] == 129  # the pose image, a line, the prediction; 64 pixels each
    import av

    with av.open(io.BytesIO(files["mp4"])) as video:
        pictures = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    assert len(pictures) == len(played)
    scale = pictures[0].shape[0] // 32
    last = pictures[-1][::scale, 65 * scale :: scale][:32, :64].astype(float)
    assert np.abs(last - frames[-1].transpose(1, 2, 0)).mean() < 12


def test_a_recorded_arm_is_test_data_that_the_tester_predicts_alike(robot, tmp_path):
    acts = [{"word": "aim", "x": 0.8, "y": 0.7, "n": 1}, {"word": "lower", "on": True, "n": 2}]
    with serving(robot) as running:
        files = recorded(running, steps=15, acts=acts)
    zipfile.ZipFile(io.BytesIO(files["sequence"])).extractall(tmp_path / "data")
    how = (tmp_path / "data/README.txt").read_text().splitlines()[-1]
    flags = how.replace("HERE", str(tmp_path / "data")).replace("OUT", str(tmp_path / "out"))
    flags = flags.replace("CHECKPOINT", str(PRETRAINED / "robot.safetensors")).split()[3:]
    code, said = call(Tester, *flags, "--device", "cpu", "--no_report")
    assert code == 0, said
    summary = pd.read_csv(tmp_path / "out/summary.csv", index_col=0)
    assert summary.loc["best of 1", "psnr"] == 100, "not bit for bit"


def test_a_recording_ends_where_there_is_no_more_room(monkeypatch):
    monkeypatch.setattr("player.recording.MOST_FRAMES", 6)
    frame, pose = np.zeros((1, 4, 8, 3), np.uint8), np.zeros((4, 8, 3), np.uint8)
    recording = Recording(frame[None], pose[None], "dance")
    while recording.running:
        recording.add(frame, pose)
    assert len(recording) == 6


# ----------------------------------------------------------------------- worlds


def test_pose_images_of_the_data_go_in_as_they_are():
    """Bit for bit, to the end, where the last stays; a hand takes over where somebody stood."""
    played = tiny("dance")
    rng = np.random.default_rng(0)
    poses = rng.integers(0, 256, (5, 32, 64, 3), dtype=np.uint8)
    poses[-1] = 255
    poses[-1, 5:28, 40:44] = 0
    start = DanceStart("test 0", poses[0], poses=poses)
    world = world_of(played, [start])[0]()
    for number in range(1, 7):
        shown = world.step()
        np.testing.assert_array_equal(shown.pictures[1], poses[min(number, 4)])
        assert shown.resting == (number >= 4)
        assert not len(shown.overlay)
    world.act({"do": "take"})
    shown = world.step()
    joints = shown.overlay.reshape(-1, 2)
    assert abs(joints[:, 0].mean() * 64 - 42) < 4
    assert not np.array_equal(shown.pictures[1], poses[-1])


def test_drawing_anew_changes_samples_and_reset_brings_the_first_frame_back(robot):
    world = world_of(robot)[0]()
    first = world.look().pictures
    before = world.step().pictures
    world.act({"do": "start", "start": 0})
    np.testing.assert_array_equal(world.look().pictures, first)
    world.act({"do": "redraw"})
    assert not np.array_equal(world.step().pictures, before)
    world.act({"do": "start", "start": 10_000})  # no such start: nothing breaks
    assert world.step().pictures.shape == (SAMPLES, 64, 64, 3)


def test_what_is_seen_can_be_kept(robot):
    """The rollout begins anew at the latest frames: a step is then that of `rollout` from them."""
    world = world_of(robot)[0]()
    world.act({"do": "latent", "z": "mean", "temperature": 1})
    for _ in range(5):
        world.step()
    world.act({"do": "keep"})
    known, conditions = world.known, world.conditions
    shown = world.step()
    assert shown.number == 7
    given = torch.from_numpy(np.stack([*conditions, world.conditions[-1]]))
    clips = [Clip(str(k), as_images(known[:, k]), given, n_past=2) for k in range(SAMPLES)]
    found = rollout(robot.model, clips, compute=robot.compute, z="mean")
    for k in range(SAMPLES):
        assert torch.equal(found[k][-1], as_images(shown.pictures)[k])


def test_an_arm_is_learned_from_the_data():
    rng = np.random.default_rng(0)
    step = np.array([0.16, 0.10, -0.30])
    actions = rng.uniform(-1, 1, (200, 4))
    places = np.cumsum(np.concatenate([np.zeros((1, 3)), actions[:-1, :3] * step]), axis=0)
    causes = np.concatenate([actions, places], axis=1).astype(np.float32)
    conditions = np.concatenate([np.zeros_like(causes[:1]), causes[:-1]])
    reach = reach_of([conditions])
    np.testing.assert_allclose(reach.step, step, rtol=0.02)
    arm = Arm(reach, places[50], 0.0)
    arm.target = places[80].copy()
    for _ in range(200):
        before = arm.hand.copy()
        condition = arm.advance()
        np.testing.assert_allclose(condition[4:], before, rtol=1e-5)
        assert (np.abs(condition[:3]) <= 1.0001).all()
    np.testing.assert_allclose(arm.hand, places[80], atol=0.02)


def test_the_room_stays_where_nobody_stands(dancer):
    """After 300 frames of walks, the room far from the dancer is what it was in frame 0."""
    world = world_of(dancer)[0]()
    first = world.known[0, 0].astype(float)
    for number in range(300):
        if number % 60 == 0:
            world.act({"do": "move", "name": "walk", "n": 1})
        shown = world.step()
    places = shown.overlay.reshape(-1, 2)[:, 0] * 64
    columns = np.arange(64)
    free = (np.abs(columns - 32) > 12) & (np.abs(columns - places.mean()) > 14)
    assert free.sum() > 8
    drift = np.abs(world.known[-1, 0] - first)[:, free].mean()
    assert drift < 3, "gray levels of 255"
