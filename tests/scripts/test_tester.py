"""Tester.py as a user runs it, on a tiny synthetic dataset."""

import csv

import numpy as np
import pytest
from PIL import Image

from engine.evaluation.poses import rank_correlation
from tests.support.scripts import TINY, good, run


def test_the_tester_writes_gifs_submission_and_scores(dance_root, trained, tmp_path):
    out = good(run("Tester.py", f"--DR {dance_root} --save_root {tmp_path} --ckpt_path {trained}"))
    names = {path.name for path in tmp_path.iterdir()}
    sequences = sorted(int(p.name) for p in (dance_root / "test/test_label").iterdir())
    assert {f"pred_seq{k}.gif" for k in sequences} <= names
    assert {"submission.csv", "scores.csv", "scores.png", "summary.csv"} <= names
    lengths = [len(list((dance_root / f"test/test_label/{k}").iterdir())) for k in sequences]
    lines = (tmp_path / "submission.csv").read_text().splitlines()
    assert len(lines) == 1 + sum(lengths)
    assert lines[0] == "id," + ",".join(map(str, range(3 * 32 * 64)))
    first = np.array(lines[1].split(",")[1:], int).reshape(3, 32, 64)
    with Image.open(dance_root / "test/test_img/0/0.png") as image:
        given = np.asarray(image.convert("RGB").resize((64, 32), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(first, given.transpose(2, 0, 1))
    assert "mean" in out


def test_scores_are_those_of_the_submission(dance_root, trained, tmp_path):
    """PSNR by hand from submission.csv and the true PNGs equals the table's."""
    good(run("Tester.py", f"--DR {dance_root} --save_root {tmp_path} --ckpt_path {trained}"))
    csv_rows = np.loadtxt(tmp_path / "submission.csv", delimiter=",", skiprows=1)[:, 1:]
    length = len(list((dance_root / "test/test_label/0").iterdir()))
    psnr = []
    for t in range(1, min(length, 601)):
        with Image.open(dance_root / f"test/test_gt/0/{t}.png") as image:
            true = np.asarray(image.resize((64, 32), Image.Resampling.BILINEAR), float)
        mse = ((csv_rows[t].reshape(3, 32, 64) - true.transpose(2, 0, 1)) ** 2).mean()
        psnr.append(10 * np.log10(255**2 / mse))
    with (tmp_path / "summary.csv").open() as file:
        table = {row["sequence"]: row for row in csv.DictReader(file)}
    assert float(table["0"]["psnr"]) == pytest.approx(np.mean(psnr), abs=1e-3)
    with (tmp_path / "scores.csv").open() as file:
        by_frame = [row for row in csv.DictReader(file) if row["sequence"] == "0"]
    for curve in ("pose_change", "pose_distance"):
        pairs = [(-float(row["psnr"]), float(row[curve])) for row in by_frame]
        expected = rank_correlation(*np.array(pairs).T)
        assert float(table["0"][f"{curve}_corr"]) == pytest.approx(expected, abs=1e-4)
        assert 0 < float(table["0"][f"{curve}_chance"]) < 1


def test_another_frame_size_and_the_split_val(dance_root, tmp_path):
    size = "--frame_H 16 --frame_W 24"
    good(run("Trainer.py", f"--DR {dance_root} --save_root {tmp_path} {TINY} {size} --num_epoch 1"))
    out = tmp_path / "out"
    good(
        run("Tester.py", f"--DR {dance_root} --save_root {out} --ckpt_path {tmp_path} --split val")
    )
    with Image.open(out / "pred_seqval0.gif") as gif:
        assert gif.size == (24, 16)
