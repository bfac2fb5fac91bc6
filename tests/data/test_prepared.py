"""Data prepared ahead is the data, and is made in shares, again and in part."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from core.errors import UserError
from dataloader import DanceWindows, test_clips, training_data_digest, validation_clips
from engine.checkpoints import checkpoint
from tests.support.data_sets import assert_same_batch, assert_same_clips, run_prepare
from tests.support.runs import same
from tests.support.scripts import TINY, train

CPU = torch.device("cpu")


def test_prepared_data_is_the_data(settings, dance_root, prepared, decoded):
    one, other = (
        settings(DR=str(root), train_vi_len=4, holdout=(40, 50)) for root in (dance_root, prepared)
    )
    assert training_data_digest(one) == training_data_digest(other)
    clips = validation_clips(other)
    windows = DanceWindows(other, CPU)
    assert decoded == []
    assert not list(prepared.rglob("train_*/*.png"))
    assert_same_clips(validation_clips(one), clips)
    for batch, expected in zip(windows.batches(1), DanceWindows(one, CPU).batches(1), strict=True):
        assert_same_batch(batch, expected)
    assert_same_clips({"test": test_clips(one)}, {"test": test_clips(other)})


def test_a_run_goes_on_with_its_data_prepared(dance_root, prepared, tmp_path):
    flags = f"{TINY} --precision fp32 --num_epoch"
    for folder, roots in (("one", [dance_root]), ("two", [dance_root, prepared])):
        for root in roots:
            epochs = 1 if root == dance_root and len(roots) > 1 else 2
            code, said = train(
                f"--DR {root} --save_root {tmp_path / folder} {flags} {epochs} "
                "--lr_schedule constant --kl_anneal_type None --per_save 10",
                tmp_path / "out",
            )
            assert code == 0, said
    assert "going on from" in said
    one, two = (checkpoint.load(tmp_path / name / "last.ckpt") for name in ("one", "two"))
    assert same(one["state_dict"], two["state_dict"])


def files_of(folder: Path) -> dict[Path, bytes]:
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_shares_together_make_the_whole(
    settings, dance_root, prepared, tmp_path, monkeypatch, capsys
):
    out = tmp_path / "shared"
    said = run_prepare(monkeypatch, capsys, f"--DR {dance_root} --out {out} --shard 1/2")
    assert "60 frames in 3 shards, 1 of them made now" in said
    with pytest.raises(UserError, match="not finished"):
        DanceWindows(settings(DR=str(out), train_vi_len=4), CPU)
    run_prepare(monkeypatch, capsys, f"--DR {dance_root} --out {out} --shard 0/2")
    assert files_of(out) == files_of(prepared)


def test_preparing_again_makes_what_is_missing_or_changed(
    settings, dance_root, prepared, tmp_path, monkeypatch, capsys, decoded
):
    root = shutil.copytree(dance_root, tmp_path / "root", copy_function=shutil.copy2)
    again = f"--DR {root} --out {prepared}"
    assert "60 frames in 3 shards, 0 of them made now" in run_prepare(monkeypatch, capsys, again)
    assert decoded == []

    os.utime(root / "train/train_img/30.png", ns=(0, 7))
    said = run_prepare(monkeypatch, capsys, again)
    assert said.count("60 frames in 3 shards, 1 of them made now") == 1
    assert {path.parent.name for path in decoded} == {"train_img"}
    assert len(decoded) == 25

    before = files_of(prepared)
    damaged = max((prepared / "train/train_img").glob("*.npy"), key=lambda p: p.stat().st_mtime_ns)
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with pytest.raises(UserError, match="1 of 3 shards are missing or damaged"):
        DanceWindows(settings(DR=str(prepared), train_vi_len=4), CPU)
    run_prepare(monkeypatch, capsys, again)
    assert files_of(prepared) == before


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ("--DR {root}/none --out {out}", "no such folder"),
        ("--DR {root} --out {root}/train/train_img/0.png", "--out"),
        ("--DR {root} --out {out} --shard 2/2", "must have 0 <= i < n"),
        ("--DR {root} --out {out} --shard one", "not of the form i/n"),
        ("--DR nothing://here --out {out}", "nothing://here"),
    ],
)
def test_bad_input_to_prepare(dance_root, tmp_path, monkeypatch, capsys, flags, reason):
    flags = flags.format(root=dance_root, out=tmp_path / "out")
    with pytest.raises(SystemExit) as ended:
        run_prepare(monkeypatch, capsys, flags)
    assert ended.value.code == 2
    assert reason in capsys.readouterr().err


def test_prepared_data_of_another_size_or_format_is_refused(settings, prepared):
    with pytest.raises(UserError, match="--frame_H 32 --frame_W 64"):
        DanceWindows(settings(DR=str(prepared), frame_H=16, frame_W=32), CPU)
    index = prepared / "train/train_img/frames.json"
    content = json.loads(index.read_text())
    for wrong in ("{", "[]", json.dumps(content | {"format": "other"}), "{}"):
        index.write_text(wrong)
        with pytest.raises(UserError, match="not prepared as it should be"):
            DanceWindows(settings(DR=str(prepared)), CPU)
