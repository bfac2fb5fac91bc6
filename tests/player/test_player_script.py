"""Player.py as a user runs it: it plays what can be played, and refuses the rest in one line."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest
import torch

import Player
import Tester
from engine.checkpoints import checkpoint
from player import model as models
from player.hello import hello
from tests.support.hostile import call
from tests.support.playing import PRETRAINED
from tests.support.scripts import ROOT

DANCE = PRETRAINED / "dance.safetensors"


def start(*flags, **environment) -> tuple[subprocess.Popen, str]:
    """Start the script without a browser; return it and the address that it printed."""
    process = subprocess.Popen(
        [sys.executable, ROOT / "Player.py", "--no_browser", *map(str, flags)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
    )
    said = []
    for line in process.stdout:
        said.append(line)
        if line.startswith("http://"):
            return process, line.strip()
    raise AssertionError("".join(said))


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_it_is_told_to_end(end):
    token = "anaddressthatstays"
    process, address = start("--ckpt_path", DANCE, "--port", 0, PLAYER_TOKEN=token)
    assert address.endswith(f"/{token}/")
    with urllib.request.urlopen(address, timeout=10) as answer:
        assert b"<!doctype html>" in answer.read()
    process.send_signal(end)
    rest = process.communicate(timeout=20)[0]
    assert process.returncode == 128 + end
    assert "Traceback" not in rest


def test_a_port_in_use_and_other_bad_flags(refused, tmp_path, monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = refused(Player, "--ckpt_path", DANCE, "--port", port, "--no_browser")
    assert f"--port {port}: in use" in said
    assert "no such checkpoint" in refused(Player, "--ckpt_path", tmp_path / "no.ckpt")
    assert "--ckpt_path" in refused(Player)
    assert "--host" in refused(Player, "--ckpt_path", DANCE, "--host", "203.0.113.1")
    assert "--host" in refused(Player, "--ckpt_path", DANCE, "--host", "no.such.name.example")
    assert "--DR" in refused(Player, "--ckpt_path", DANCE, "--DR", tmp_path / "nowhere")
    assert "--DR" in refused(Player, "--ckpt_path", DANCE, "--DR", tmp_path)
    assert "--sessions" in refused(Player, "--ckpt_path", DANCE, "--sessions", 0)
    monkeypatch.setenv("PLAYER_TOKEN", "short")
    assert "PLAYER_TOKEN" in refused(Player, "--ckpt_path", DANCE)


def changed(tmp_path, **settings):
    """A checkpoint of the dance with other settings than its weights have."""
    content = checkpoint.load(DANCE) | {"optimizer": {}, "lr": 0.0, "tfr": 0.0}
    content["settings"] = content["settings"] | settings
    torch.save(content, tmp_path / "changed.ckpt")
    return tmp_path / "changed.ckpt"


def test_checkpoints_of_other_sizes(refused, tmp_path):
    said = refused(Player, "--ckpt_path", changed(tmp_path, F_dim=128), "--no_browser")
    assert "F_dim" in said
    said = refused(Player, "--ckpt_path", changed(tmp_path, frame_H=1024, frame_W=2048))
    assert len(said.strip().splitlines()) == 1


def test_a_checkpoint_of_frames_too_large_to_play(refused, small_run, small_root, tmp_path):
    content = checkpoint.load(small_run / "best.ckpt")
    content["settings"] |= {"frame_H": 1024, "frame_W": 1024}
    torch.save(content, tmp_path / "large.ckpt")
    said = refused(Player, "--ckpt_path", tmp_path / "large.ckpt", "--no_browser")
    assert "1024×1024" in said


def flags_of(*flags):
    return Player.read_flags([str(flag) for flag in flags])


def test_without_its_data_it_plays_in_the_demos_room_and_says_so(small_run):
    played = models.load(str(small_run), "cpu")
    flags = flags_of("--ckpt_path", small_run)
    make_world, starts = Player.world_of(played, flags)
    assert "another" in hello(played, starts, own_data=False)["note"]
    shown = make_world().step()
    assert shown.pictures.shape == (2, 12, 12, 3)
    demo = models.load(str(DANCE), "cpu")
    assert hello(demo, starts, own_data=False)["note"] == ""


def test_sequences_of_the_data_are_starts(dance_root):
    played = models.load(str(DANCE), "cpu")
    make_world, starts = Player.world_of(played, flags_of("--ckpt_path", "x", "--DR", dance_root))
    assert [start.name for start in starts] == ["test 0", "test 1", "val"]
    world = make_world()
    world.act({"do": "start", "start": 1})
    for _ in range(3):
        shown = world.step()
    assert not len(shown.overlay)
    assert world.at == 3


def test_a_robot_starts_from_its_data(tmp_path):
    from demo.robot import make_dataset

    make_dataset(tmp_path / "robot", train_sequences=2, eval_sequences=3, frames=8)
    played = models.load(str(PRETRAINED / "robot.safetensors"), "cpu")
    flags = flags_of("--ckpt_path", "x", "--DR", tmp_path / "robot")
    make_world, starts = Player.world_of(played, flags)
    assert len(starts) == 3
    assert make_world().step().pictures.shape == (4, 64, 64, 3)


def test_a_checkpoint_of_the_lab_plays(small_run, tmp_path):
    """It has no settings and no score: its sizes are read off its weights."""
    lab = tmp_path / "lab.ckpt"
    code, said = call(Tester, "--ckpt_path", small_run, "--export_lab", lab)
    assert code == 0, said
    played = models.load(str(lab), "cpu")
    assert played.trained_on
    make_world, _ = Player.world_of(played, flags_of("--ckpt_path", lab))
    make_world().step()


def test_a_run_folder_plays_its_best(small_run, tmp_path):
    folder = shutil.copytree(small_run, tmp_path / "run")
    assert "dB PSNR" in models.load(str(folder), "cpu").about
