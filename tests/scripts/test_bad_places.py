"""Folders that are written to, and caches: nothing is lost, followed elsewhere or trusted blindly.

`refused` (conftest.py) checks that nothing was left half-written.
"""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import Tester
import Trainer
from tests.support.data_sets import decoded_frames
from tests.support.hostile import call, contents, rollout_flags, trainer_flags, writing_only_in

# ------------------------------------------------------------- places to write to

OUTPUTS = {  # what lies at --save_root, and what both scripts then say
    "a file": lambda out: out.write_text("mine"),
    "inside a file": lambda out: out.parent.write_text("mine"),
    "a link to nowhere": lambda out: out.symlink_to(out.parent / "nowhere"),
    "a link to itself": lambda out: out.symlink_to(out),
    "a pipe": os.mkfifo,
}


@pytest.mark.parametrize("script", [Trainer, Tester])
@pytest.mark.parametrize("case", OUTPUTS)
def test_an_output_folder_that_cannot_be(refused, root, ours, script, case):
    out = root.parent / "place" / "out"
    if case != "inside a file":
        out.parent.mkdir()
    OUTPUTS[case](out)
    flags = trainer_flags(root) if script is Trainer else rollout_flags(root, ours)
    assert f"--save_root {out}" in refused(script, *flags, "--save_root", out)


@pytest.mark.parametrize("script", [Trainer, Tester])
def test_a_name_that_the_system_does_not_take(refused, root, ours, script):
    flags = trainer_flags(root) if script is Trainer else rollout_flags(root, ours)
    assert "File name too long" in refused(script, *flags, "--save_root", "x" * 300)
    assert "File name too long" in refused(script, *flags, "--DR", "x" * 300)
    assert "File name too long" in refused(script, *flags, "--ckpt_path", "x" * 300)


def test_results_of_another_run_are_kept_unless_overwritten(refused, root, ours, small_run):
    out = root.parent / "out"
    assert call(Tester, *rollout_flags(root, ours))[0] == 0
    for name in ("pred_seq7.gif", "pred_seq7.mp4"):
        (out / name).write_bytes(b"of a sequence that the other run lacks")
    (out / "mine.csv").write_text("a,b\n")
    assert "--overwrite" in refused(Tester, *rollout_flags(root, small_run)), "a later checkpoint"
    assert call(Tester, *rollout_flags(root, ours))[0] == 0, "the same once more"

    content = torch.load(ours, weights_only=True)
    content["state_dict"] = {k: v + 1 for k, v in content["state_dict"].items()}
    torch.save(content, ours)
    assert "--overwrite" in refused(Tester, *rollout_flags(root, ours))
    assert call(Tester, *rollout_flags(root, ours, "--overwrite"))[0] == 0
    assert not list(out.glob("pred_seq7.*")), "stale results stay"
    assert (out / "mine.csv").exists()
    for spoiled in (b"\xff\xfe", b"[" * 100_000, b"[]", b'{"weights": 1}'):
        (out / "source.json").write_bytes(spoiled)
        assert "--overwrite" in refused(Tester, *rollout_flags(root, ours))


def test_an_export_does_not_replace_a_file_unless_told(refused, root, ours, tmp_path):
    flags = ("--ckpt_path", ours, "--export_lab", tmp_path / "lab.ckpt")
    (tmp_path / "lab.ckpt").write_text("mine")
    assert "--export_lab" in refused(Tester, *flags)
    assert call(Tester, *flags, "--overwrite")[0] == 0
    assert "lr" in torch.load(tmp_path / "lab.ckpt", weights_only=True)
    assert "--export_lab" in refused(Tester, *flags[:3], tmp_path, "--overwrite")


def test_the_tester_does_not_touch_a_run_folder(refused, root, small_run, tmp_path):
    run = shutil.copytree(small_run, tmp_path / "out")
    before = contents(run)
    code, _ = call(Tester, *rollout_flags(root, run, "--overwrite"))
    assert code == 0
    after = contents(run)
    assert {name: after.get(name) for name in before} == before


def test_links_in_the_place_of_results_are_replaced_and_not_followed(root, small_run, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    run, results = tmp_path / "out", tmp_path / "results"
    for folder, names in (
        (run, ("epoch=0.ckpt", "best.ckpt", "last.ckpt", "metrics.csv", "settings.json")),
        (run, ("val.gif",)),
        (results, ("submission.csv", "scores.csv", "pred_seq0.gif", "scores.png", "source.json")),
    ):
        folder.mkdir(exist_ok=True)
        for name in names:
            (folder / name).symlink_to(victim)
    cached = tmp_path / "cache"
    with writing_only_in(run, results, cached):
        code, said = call(Trainer, *trainer_flags(root, "--num_epoch", "1", "--cache_dir", cached))
        assert code == 0, said
        flags = ("--save_root", results, "--overwrite", "--cache_dir", cached)
        assert call(Tester, *rollout_flags(root, run, *flags))[0] == 0
    assert victim.read_text() == "precious"
    assert (run / "last.ckpt").is_file()
    assert not any(path.is_symlink() for folder in (run, results) for path in folder.iterdir())


@pytest.mark.parametrize("target", ["../victim", "nowhere", ".lock"])
def test_a_link_in_the_place_of_the_lock_is_not_followed(refused, root, tmp_path, target):
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/.lock").symlink_to(target)
    assert "--save_root" in refused(Trainer, *trainer_flags(root))


# ----------------------------------------------------------------------- caches


@pytest.fixture
def pictures(root) -> list[Path]:
    return [root / f"val/val_img/{number}.png" for number in range(4)]


def swap(file: Path, plant) -> None:
    file.unlink()
    plant(file)


CACHES = {  # what is done to a cache file
    "a flipped bit": lambda f: f.write_bytes(f.read_bytes()[:-600] + b"?" + f.read_bytes()[-599:]),
    "cut short": lambda f: f.write_bytes(f.read_bytes()[:-1]),
    "empty": lambda f: f.write_bytes(b""),
    "a header of nests": lambda f: f.write_bytes(b"\x93NUMPY\x01\x00\xff\x1f" + b"(" * 8191),
    "a header that is huge": lambda f: f.write_bytes(
        f.read_bytes().replace(b"(4, 12, 12, 3)", b"(4**9,12**9,3)")
    ),
    "objects": lambda f: np.save(f, np.array([{}, {}, {}, {}]), allow_pickle=True),
    "a folder": lambda f: swap(f, Path.mkdir),
    "a pipe": lambda f: swap(f, os.mkfifo),
    "a link to nowhere": lambda f: swap(f, lambda g: g.symlink_to("nowhere")),
    "a link to a device": lambda f: swap(f, lambda g: g.symlink_to("/dev/zero")),
}


@pytest.mark.parametrize("case", CACHES)
def test_a_spoiled_cache_is_not_trusted(pictures, tmp_path, case):
    true = decoded_frames(pictures, 12, 12, tmp_path / "cache").copy()
    (file,) = (tmp_path / "cache").rglob("*.npy")
    CACHES[case](file)
    assert np.array_equal(decoded_frames(pictures, 12, 12, tmp_path / "cache"), true)


def test_a_cache_folder_that_leads_elsewhere_is_not_written_to(pictures, tmp_path, capsys):
    places, elsewhere = tmp_path / "cache", tmp_path / "elsewhere"
    true = decoded_frames(pictures, 12, 12, places).copy()
    (folder,) = places.iterdir()
    shutil.rmtree(folder)
    elsewhere.mkdir()
    (elsewhere / "0-12x12.npy").write_text("precious")
    folder.symlink_to(elsewhere)
    assert np.array_equal(decoded_frames(pictures, 12, 12, places), true)
    assert [path.name for path in elsewhere.iterdir()] == ["0-12x12.npy"]
    assert "is a link" in capsys.readouterr().err


@pytest.mark.parametrize("plant", [Path.touch, os.mkfifo, lambda p: p.symlink_to("/dev/null")])
def test_without_a_cache_folder_the_run_goes_on(root, tmp_path, plant):
    plant(tmp_path / "cache")
    flags = trainer_flags(root, "--cache_dir", tmp_path / "cache", "--num_epoch", "1")
    code, said = call(Trainer, *flags)
    assert code == 0, said
    assert "--cache_dir" in said


def test_pictures_that_are_links_are_read(root, tmp_path):
    """A dataset may be made of links; where they lead is read and never written to."""
    real = tmp_path / "real.png"
    Image.new("RGB", (16, 16), (9, 8, 7)).save(real)
    (root / "val/val_img/2.png").unlink()
    (root / "val/val_img/2.png").symlink_to(real)
    found = decoded_frames([root / "val/val_img/2.png"], 12, 12)
    assert (found == (9, 8, 7)).all()
