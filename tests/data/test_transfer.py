"""Somebody else's dance on a dancer of one's own: where they stand, how tall, with which limbs."""

import json
import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from core.errors import UserError
from data.dance import DanceData
from data.estimates import table
from data.placement import as_images
from data.pose.bones import BONES, KIND, KINDS, resized
from data.pose.camera import EYE_HEIGHT, Camera
from data.pose.picture import draw_places
from data.pose.skeleton import CHANNELS, HEEL_DROP, JOINT, JOINTS, SOLE_THICKNESS, joints_of, lowest
from data.transfer import __main__ as script
from data.transfer.normalization import transfer
from data.transfer.stance import ANKLES, floor_under, measure
from data.transfer.target import open_target
from demo.dance import recording, train_cuts
from demo.motion import dance
from player.starts import dance_starts
from tests.support import estimators as theirs
from tests.support.hostile import run_here

TALL = {"neck": 1.10, "shoulder": 1.12, "elbow": 1.06, "wrist": 1.04}
TALL |= dict.fromkeys(("hip", "knee", "ankle", "heel", "toe"), 1.15)
SMALL = {"neck": 0.92, "shoulder": 0.90} | dict.fromkeys(("hip", "knee", "ankle"), 0.90)
THEIRS, OURS = Camera(480, 640), Camera(64, 128)
ANKLE = HEEL_DROP + SOLE_THICKNESS  # meters above the floor, the foot being level
LIMBS = ("neck", "elbow", "wrist", "knee", "ankle")  # trunk, arms and legs
run = partial(run_here, script)


def performed(seed, lengths, camera, away, frames=900):
    """Joints (T, J, 3) in the world, and (T, J, 2) as the camera sees them."""
    joints = resized(joints_of(dance(np.random.default_rng(seed), frames, camera)), lengths)
    joints[..., 1] -= lowest(joints)[:, None]
    joints[..., 2] += away
    places = camera.project(joints)
    outside = ((places < 0) | (places >= (camera.width, camera.height))).any(axis=-1)
    return joints, np.where(outside[..., None], np.nan, places)


def bone_lengths(joints):
    """Meters of every bone of a body (T, J, 3), by kind."""
    ends = {KIND[JOINTS[a]]: np.linalg.norm(joints[0, a] - joints[0, b]) for a, b in BONES}
    return {kind: ends[kind] for kind in KINDS}


def pixels_a_meter(floor, camera):
    """What a meter measures where somebody's ankles are seen at the height `floor`."""
    return (floor - camera.horizon[1]) / (EYE_HEIGHT - ANKLE)


@pytest.mark.parametrize(("theirs_seed", "ours_seed"), [(1, 2), (3, 4)])
def test_limbs_are_the_targets_and_feet_on_its_floor(theirs_seed, ours_seed):
    """A tall person far away before one camera, a small one near another; other dances."""
    source, seen = performed(theirs_seed, TALL, THEIRS, away=1.8)
    target, known = performed(ours_seed, SMALL, OURS, away=0.0)
    stance = measure(known, "target")
    places = transfer(seen, stance, OURS.width, "source").places

    standing = np.isfinite(seen[:, ANKLES, 1]).all(axis=1)
    floor = floor_under(places, measure(places, "transferred"))
    # The floor's place says by perspective how large a meter is there, on either side.
    meter = pixels_a_meter(floor, OURS)[standing]
    their_meter = pixels_a_meter(floor_under(seen, measure(seen, "source")), THEIRS)[standing]
    for joint, parent in BONES:
        if (kind := KIND[JOINTS[joint]]) not in LIMBS:
            continue
        drawn = np.linalg.norm(places[standing, joint] - places[standing, parent], axis=1)
        was = np.linalg.norm(seen[standing, joint] - seen[standing, parent], axis=1)
        # A bone is seen as short as the source's was: the same share of its length.
        share = was / their_meter / bone_lengths(source)[kind]
        expected = share * bone_lengths(target)[kind] * meter
        ratio = np.nanmean(drawn) / np.nanmean(expected[np.isfinite(drawn)])
        assert abs(ratio - 1) < 0.03, (JOINTS[joint], ratio)
    ankles = np.fmax.reduce(places[standing][:, ANKLES, 1], axis=1)
    assert (ankles > stance.far - 2).all()
    assert (ankles < stance.near + 2).all()
    far, near = np.percentile(floor[standing], [2, 98])
    assert near - far > 0.5 * (stance.near - stance.far)  # goes to and fro there too


def test_the_same_person_in_the_same_place_stays():
    _, seen = performed(5, {}, OURS, away=0.5)
    stance = measure(seen, "target")
    places = transfer(seen, stance, OURS.width, "source").places
    middle = np.nanmedian(np.abs(places - seen))
    assert middle < 0.3  # pixels


def test_every_frame_has_its_own_coordinates():
    """A later frame does not show where an earlier one was (a fault that others' code has)."""
    _, seen = performed(6, {}, THEIRS, away=1.0, frames=200)
    _, known = performed(7, {}, OURS, away=0.0)
    stance = measure(known, "target")
    places = transfer(seen, stance, OURS.width, "source").places
    standing = np.isfinite(seen).all(axis=(1, 2))
    shape = [p - p[JOINT["mid_hip"]] for p in places[standing]]
    was = [p - p[JOINT["mid_hip"]] for p in seen[standing]]
    for now, before in zip(shape, was, strict=True):
        away = np.corrcoef(now.reshape(-1), before.reshape(-1))[0, 1]
        assert away > 0.99
    assert np.ptp(places[:, JOINT["mid_hip"], 0]) > 5


def test_missing_joints_do_no_harm():
    _, seen = performed(8, TALL, THEIRS, away=1.8, frames=300)
    _, known = performed(9, SMALL, OURS, away=0.0)
    stance = measure(known, "target")
    whole = transfer(seen, stance, OURS.width, "source").places
    rng = np.random.default_rng(0)
    lost = seen.copy()
    for joint in ("wrist_left", "knee_right", "ankle_left", "mid_hip", "nose"):
        lost[rng.random(300) < 0.2, JOINT[joint]] = np.nan
    lost[100:140, ANKLES] = np.nan
    places = transfer(lost, stance, OURS.width, "source").places
    assert (np.isnan(places) == np.isnan(lost)).all()
    off = np.linalg.norm(places - whole, axis=-1)
    assert np.nanquantile(off, 0.95) < 2  # pixels of 128 x 64
    assert np.nanmedian(off) < 0.3


def test_a_jump_stays_one_and_who_stands_still_is_not_flung_about():
    standing = np.repeat(performed(10, {}, THEIRS, away=2.0, frames=2)[1][:1], 120, axis=0)
    jump = np.zeros(120)
    jump[60:72] = 30 * np.sin(np.linspace(0, np.pi, 12))
    source = standing - np.stack([np.zeros(120), jump], axis=1)[:, None]
    source += np.random.default_rng(1).normal(0, 1, (120, 1, 2))
    _, known = performed(11, {}, OURS, away=0.0)
    stance = measure(known, "target")
    places = transfer(source, stance, OURS.width, "source").places
    hips = places[:, JOINT["mid_hip"], 1]
    calm = np.delete(hips, slice(55, 77))
    assert np.ptp(calm) < 0.25 * (stance.near - stance.far)
    height = stance.height_at((stance.far + stance.near) / 2)
    body = np.ptp(source[0, :, 1])
    assert calm.mean() - hips.min() == pytest.approx(30 / body * 1.15 * height, rel=0.35)


def test_a_dance_too_wide_for_the_picture_is_narrowed():
    _, seen = performed(12, {}, THEIRS, away=0.5, frames=300)
    seen[..., 0] *= 4
    _, known = performed(13, {}, OURS, away=0.0)
    found = transfer(seen, measure(known, "target"), OURS.width, "source")
    assert found.narrowed < 0.95
    hips = found.places[:, JOINT["mid_hip"], 0]
    assert np.nanquantile(hips, 0.02) > 0
    assert np.nanquantile(hips, 0.98) < OURS.width


def test_without_feet():
    _, seen = performed(14, {}, THEIRS, away=0.5, frames=60)
    seen[:, ANKLES] = np.nan
    with pytest.raises(UserError, match="the whole body must be in the picture"):
        measure(seen, "--poses dance")


# ------------------------------------------------------------------------ the command


@pytest.fixture
def dancer(dance_root, tmp_path):
    """The demo's data set with the joints that it was rendered from."""
    root = tmp_path / "dancer"
    (root / "train").mkdir(parents=True)
    for part in ("train_img", "train_label", "cuts.txt"):
        (root / "train" / part).symlink_to(dance_root / "train" / part)
    bounds = [0, *train_cuts(60), 60]
    joints = [
        recording(0, "train", index, end - start)
        for index, (start, end) in enumerate(zip(bounds, bounds[1:]))
    ]
    places = OURS.project(np.concatenate(joints))
    table.write(root / "train" / "joints.csv", dict(enumerate(places)))
    return root


def test_a_test_sequence(dancer, tmp_path, monkeypatch, capsys, settings):
    _, seen = performed(20, TALL, THEIRS, away=1.5, frames=50)
    poses = theirs.write_openpose(tmp_path / "poses", seen)
    out, trained = tmp_path / "sequence", tmp_path / "run"
    trained.mkdir()
    (trained / "settings.json").write_text(json.dumps({"DR": str(dancer)}))
    flags = ("--poses", poses, "--to", trained, "--out", out, "--first_frame", 7)
    code, said, errors = run(monkeypatch, capsys, *flags)
    assert code == 0, errors
    assert f"frame 7 of {dancer} is the first picture" in said
    lost = int((~np.isfinite(seen).any(axis=(1, 2))).sum())
    assert f"{lost} frames without the person left out" in said
    following = f"--DR {out} --ckpt_path {trained} --save_root {out}-results"
    assert said.endswith(f"\nnext: python Tester.py {following}\n")
    # The limbs are those of the demo's body again, in the pixels of another camera.
    limbs = re.search(r"trunk by ([\d.]+), arms by [\d.]+, legs by ([\d.]+)", said).groups()
    body = [1.15, 1.15, 1.10]  # two bones of a leg and the trunk, by which heights are told
    expected = np.average(body, weights=[0.43, 0.43, 0.50]) / [1.10, 1.15]
    assert np.allclose([float(limb) for limb in limbs], expected, atol=0.06)
    scale = re.search(r"the body is scaled by ([\d.]+)[ ,]", said)
    assert OURS.height / THEIRS.height < float(scale[1]) < 2.5 * OURS.height / THEIRS.height
    (clip,) = DanceData(settings(DR=str(out))).test_clips()
    assert len(clip) == 50 - lost
    assert not clip.has_truth
    given = out / "test/test_img/0/0.png"
    assert given.read_bytes() == (dancer / "train/train_img/7.png").read_bytes()
    # The player offers it as a choreography.
    (start,) = dance_starts(settings(DR=str(out)))
    assert len(start.poses) == len(clip)


def test_the_first_frame_faces_as_the_first_pose_does(dancer):
    """Of somebody in the same place from a side, or from the front or back elsewhere."""
    ways = {"front": 0, "side": 90, "back": 180}
    motion = np.zeros((1, len(CHANNELS)))
    motion[:, CHANNELS.index("z")] = 2.0
    seen = {}
    for name, heading in ways.items():
        motion[:, CHANNELS.index("heading")] = heading
        seen[name] = OURS.project(joints_of(motion))[0]
    aside = [10, 0]
    places = np.stack([seen["side"], seen["front"] + aside, seen["back"] + aside])
    target = replace(open_target(dancer), numbers=np.array([4, 5, 6]), places=places)
    assert target.nearest(seen["front"]) == 5
    assert target.nearest(seen["back"]) == 6
    assert target.nearest(seen["side"]) == 4
    # Of those who face alike, the nearest.
    near = replace(target, places=np.stack([*places[1:], seen["front"] + [3, 0]]))
    assert near.nearest(seen["front"]) == 6


def test_to_a_data_set_without_joints(dance_root, tmp_path, monkeypatch, capsys, settings):
    """They are fitted to its pose images, and the pose images drawn look like those."""
    _, seen = performed(22, {}, OURS, away=0.0, frames=16)
    poses = theirs.write_openpose(tmp_path / "poses", seen)
    flags = ("--poses", poses, "--to", dance_root, "--out", tmp_path / "sequence")
    code, said, errors = run(monkeypatch, capsys, *flags)
    assert code == 0, errors
    assert "--ckpt_path RUN" in said
    (clip,) = DanceData(settings(DR=str(tmp_path / "sequence"))).test_clips()
    # A dancer of the same build before the same camera is as tall there, on the same floor.
    truth = np.stack([np.asarray(draw_places(p, 128, 64).resize((64, 32), 2)) for p in seen])
    rows = [(255 - images.amin(1).float()).sum(2) for images in (clip.conditions, as_images(truth))]
    assert (rows[0].sum(1) / rows[1].sum(1) - 1).abs().max() < 0.2
    drawn, known = ((row * torch.arange(32)).sum(1) / row.sum(1) for row in rows)
    assert (drawn - known).abs().max() < 2.5  # pixels, of the lines' middle


def test_what_is_refused(dancer, tmp_path, monkeypatch, capsys):
    _, seen = performed(21, {}, THEIRS, away=0.5, frames=20)
    poses = theirs.write_openpose(tmp_path / "poses", seen)
    (tmp_path / "run").mkdir()
    (tmp_path / "run/settings.json").write_text('{"DR": "gone"}')
    shares = theirs.write_openpose(tmp_path / "shares", seen / [640, 480])
    for to, of, more, said in (
        (tmp_path / "none", poses, (), "no such folder"),
        (tmp_path / "poses", poses, (), f"trained on one; runs in {tmp_path}: run; data sets"),
        (tmp_path, poses, (), f"runs in {tmp_path}: run; data sets in {tmp_path}: dancer"),
        (tmp_path / "run", poses, (), "it was trained on gone, which is not there"),
        (dancer, poses, ("--first_frame", 99), "numbered 0 to 59"),
        (dancer, shares, (), "say with --pose_size"),
        (dancer, Path("gone.json"), (), "gone.json"),
    ):
        flags = ("--poses", of, "--to", to, "--out", tmp_path / "out", *more)
        code, _, errors = run(monkeypatch, capsys, *flags)
        assert code == 2
        assert said in errors
        assert len(errors.strip().splitlines()) == 1
        assert not (tmp_path / "out").exists()
