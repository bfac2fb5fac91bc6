"""Weights as `.safetensors`: written, tested, trained on, and not believed."""

import json
import os
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import Tester
import Trainer
from core.errors import UserError
from engine.checkpoints import checkpoint
from tests.support.hostile import call, rollout_flags, trainer_flags

PRETRAINED = Path(__file__).parents[3] / "pretrained"


@pytest.fixture
def exported(ours, tmp_path) -> Path:
    path = tmp_path / "ours.safetensors"
    code, said = call(Tester, "--ckpt_path", ours, "--export_safetensors", path)
    assert code == 0, said
    return path


def test_it_holds_the_weights_and_settings_of_the_checkpoint(ours, exported):
    before, after = checkpoint.load(ours), checkpoint.load(exported)
    assert before["state_dict"].keys() == after["state_dict"].keys()
    for name, weight in before["state_dict"].items():
        assert torch.equal(weight, after["state_dict"][name]), name
    assert "optimizer" not in after
    places = {"DR", "save_root", "ckpt_path", "cache_dir", "num_workers", "device"}
    assert not after["settings"].keys() & places
    assert all(before["settings"][name] == value for name, value in after["settings"].items())
    assert str(ours.parent).encode() not in exported.read_bytes()


def test_the_tester_rolls_it_out_as_the_checkpoint(root, ours, exported, tmp_path):
    results = {}
    for path in (ours, exported):
        flags = rollout_flags(root, path, "--no_report", "--precision", "fp32", "--overwrite")
        code, said = call(Tester, *map(str, flags))
        assert code == 0, said
        results[path] = (tmp_path / "out/submission.csv").read_bytes()
    assert results[ours] == results[exported]


def test_the_trainer_begins_with_its_weights(root, exported, tmp_path):
    flags = trainer_flags(root, "--warm_start", exported, "--num_epoch", "1", "--lr", "1e-9")
    code, said = call(Trainer, *map(str, flags))
    assert code == 0, said
    begun = checkpoint.load(tmp_path / "out/last.ckpt")["state_dict"]
    for name, weight in load_file(exported).items():
        if weight.is_floating_point() and "running" not in name:
            torch.testing.assert_close(begun[name], weight, atol=1e-5, rtol=0)


def test_it_is_no_run_to_go_on_with(root, exported, refused):
    said = refused(Trainer, *trainer_flags(root, "--ckpt_path", exported))
    assert "--warm_start" in said


def test_an_export_replaces_nothing_unasked(ours, exported, refused):
    before = exported.read_bytes()
    assert "--overwrite" in refused(Tester, "--ckpt_path", ours, "--export_safetensors", exported)
    assert exported.read_bytes() == before
    code, _ = call(Tester, "--ckpt_path", ours, "--export_safetensors", exported, "--overwrite")
    assert code == 0
    wrong = exported.with_suffix(".bin")
    assert "safetensors" in refused(Tester, "--ckpt_path", ours, "--export_safetensors", wrong)


def respelled(path: Path, **entries: str | None) -> Path:
    """Write the file again with other metadata; None leaves an entry out."""
    raw = path.read_bytes()
    (size,) = struct.unpack("<Q", raw[:8])
    metadata = json.loads(raw[8 : 8 + size])["__metadata__"] | entries
    kept = {name: text for name, text in metadata.items() if text is not None}
    save_file(load_file(path), path, kept)
    return path


def deep(levels: int) -> str:
    return "[" * levels + "]" * levels


HOSTILE_ENTRIES = {
    "settings that are no JSON": {"settings": "{"},
    "settings that are no table": {"settings": "[1]"},
    "no settings": {"settings": None},
    "endless settings": {"settings": json.dumps({"x": "y" * (1 << 19)})},
    "deep settings": {"settings": deep(100_000)},
    "a table in tables": {"settings": '{"a": ' * 9 + "1" + "}" * 9},
    "huge widths": {"settings": json.dumps({"model": "dance", "F_dim": 10**9})},
    "a width in words": {"settings": json.dumps({"model": "dance", "F_dim": "wide"})},
    "a score that is none": {"best": '{"psnr": NaN}'},
    "a score of another shape": {"best": "[1, 2]"},
    "a step below nothing": {"step": "-1"},
    "data that are no words": {"data": "[1]"},
    "endless data": {"data": json.dumps("x" * 5000)},
    "another model's settings": {"settings": json.dumps({"model": "svg"})},
}


@pytest.mark.parametrize("what", HOSTILE_ENTRIES)
def test_hostile_entries_are_refused(root, exported, refused, what):
    respelled(exported, **HOSTILE_ENTRIES[what])
    refused(Tester, *rollout_flags(root, exported))


def with_tensor(raw: bytes, **fields) -> bytes:
    """The file with other claims about its first tensor."""
    (size,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + size])
    name = next(key for key in header if key != "__metadata__")
    text = json.dumps(header | {name: header[name] | fields}).encode()
    return struct.pack("<Q", len(text)) + text + raw[8 + size :]


SPOILT = {
    "empty": lambda raw: b"",
    "cut": lambda raw: raw[: len(raw) // 2],
    "a header beyond the end": lambda raw: struct.pack("<Q", 1 << 40) + raw[8:],
    "a header of noise": lambda raw: raw[:8] + os.urandom(200) + raw[208:],
    "a tensor beyond the end": lambda raw: with_tensor(raw, data_offsets=[0, 1 << 40]),
    "a tensor of another shape": lambda raw: with_tensor(raw, shape=[3]),
    "a shape beyond counting": lambda raw: with_tensor(raw, shape=[1 << 40, 1 << 40]),
    "an unknown type": lambda raw: with_tensor(raw, dtype="Q17"),
    "another kind of file": lambda raw: b"PK\x03\x04" + raw,
}


@pytest.mark.parametrize("what", SPOILT)
def test_spoilt_files_are_refused(root, exported, refused, what):
    exported.write_bytes(SPOILT[what](exported.read_bytes()))
    refused(Tester, *rollout_flags(root, exported))


def test_weights_that_are_not_finite_are_refused(root, exported, refused):
    weights = load_file(exported)
    next(x for x in weights.values() if x.is_floating_point()).fill_(float("nan"))
    raw = exported.read_bytes()
    (size,) = struct.unpack("<Q", raw[:8])
    save_file(weights, exported, json.loads(raw[8 : 8 + size])["__metadata__"])
    refused(Tester, *rollout_flags(root, exported))


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.safetensors")
    with pytest.raises(UserError):
        checkpoint.load(tmp_path / "pipe.safetensors")


def test_the_pretrained_are_small_enough_and_name_no_place():
    files = sorted(PRETRAINED.glob("*.safetensors"))
    assert [path.stem for path in files] == ["dance", "robot"]
    assert sum(path.stat().st_size for path in files) <= 4_000_000
    for path in files:
        content = checkpoint.load(path)
        assert content["best"]["psnr"] > 20
        assert not any("/" in str(value) for value in content["settings"].values())
