"""What the tests of data share: coded frames, and a list of what was decoded."""

from pathlib import Path

import pytest

import data.store.shards
from data.store.images import read_frame
from tests.support.data_sets import coded_pictures, run_prepare


@pytest.fixture
def coded_root(tmp_path):
    """50 training frames with cuts at 11 and 30, 20 to validate on; poses count from 100."""
    root = tmp_path / "coded"
    for split, frames in (("train", 50), ("val", 20)):
        coded_pictures(root / split / f"{split}_img", range(frames))
        coded_pictures(root / split / f"{split}_label", range(frames), offset=100)
    (root / "train/cuts.txt").write_text("11\n30\n")
    return root


@pytest.fixture
def decoded(monkeypatch):
    """The paths that were decoded, in a list that fills as it happens."""
    seen = []

    def watched(path, *size):
        seen.append(path)
        return read_frame(path, *size)

    monkeypatch.setattr(data.store.shards, "read_frame", watched)
    return seen


@pytest.fixture
def prepared(dance_root, tmp_path, monkeypatch, capsys) -> Path:
    monkeypatch.setattr(data.store.shards, "SHARD_BYTES", 25 * 3 * 32 * 64)
    run_prepare(monkeypatch, capsys, f"--DR {dance_root} --out {tmp_path / 'prepared'}")
    return tmp_path / "prepared"
