"""Frames in shards: read as one array, built in parts."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import data.store.shards
from data.augmentation.augmentation import Augmentation
from data.store.images import read_frame
from data.store.shards import Shards
from dataloader import DanceWindows, validation_clips
from tests.support.data_sets import assert_same_batch, assert_same_clips, decoded_frames

CPU = torch.device("cpu")


@pytest.fixture
def two_a_shard(monkeypatch):
    """Shards of two frames of 8×16, so that few pictures make several."""
    monkeypatch.setattr(data.store.shards, "SHARD_BYTES", 2 * 3 * 8 * 16)


@pytest.fixture
def pictures(tmp_path) -> list[Path]:
    rng = np.random.default_rng(3)
    paths = [tmp_path / "pictures" / f"{n}.png" for n in range(7)]
    paths[0].parent.mkdir()
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)).save(path)
    return paths


@pytest.fixture
def decoded(monkeypatch) -> list[Path]:
    """The pictures that were decoded, in a list that fills as it happens."""
    seen = []

    def watched(path, *size):
        seen.append(path)
        return read_frame(path, *size)

    monkeypatch.setattr(data.store.shards, "read_frame", watched)
    return seen


def test_shards_are_read_as_one_array(pictures, two_a_shard, own_cache):
    found = decoded_frames(pictures, 8, 16)
    expected = np.stack([read_frame(path, 8, 16) for path in pictures])
    assert isinstance(found, Shards)
    assert len(list(own_cache.rglob("*.npy"))) == 4
    assert found.shape == expected.shape
    assert len(found) == 7
    assert found.nbytes == expected.nbytes
    assert np.array_equal(found, expected)
    assert np.array_equal(found[1:6], expected[1:6])
    assert np.array_equal(found[np.array([6, 0, 3, 3])], expected[[6, 0, 3, 3]])
    index = torch.tensor([[0, 5, 2], [1, 6, 3]])
    assert torch.equal(found[index], torch.from_numpy(expected)[index])
    assert torch.equal(found.to(CPU), torch.from_numpy(expected))


def test_only_what_changed_is_decoded_again(pictures, two_a_shard, decoded, own_cache):
    decoded_frames(pictures[:5], 8, 16)
    decoded.clear()
    grown = decoded_frames(pictures, 8, 16)  # frames 4 and 5 share a shard
    assert sorted(decoded) == pictures[4:]
    decoded.clear()
    os.utime(pictures[2], ns=(0, 5))
    assert np.array_equal(decoded_frames(pictures, 8, 16), grown)
    assert sorted(decoded) == pictures[2:4]
    assert len(list(own_cache.rglob("*.npy"))) == 4  # what went before is gone

    decoded.clear()
    file = max(own_cache.rglob("*.npy"), key=lambda path: path.stat().st_mtime_ns)
    whole = file.read_bytes()
    file.write_bytes(whole[:200] + bytes([whole[200] ^ 1]) + whole[201:])
    assert np.array_equal(decoded_frames(pictures, 8, 16), grown)
    assert sorted(decoded) == pictures[2:4]
    assert file.read_bytes() == whole


def test_an_interrupted_build_goes_on(pictures, two_a_shard, decoded, monkeypatch):
    def crash(path, *size):
        if path == pictures[4]:
            raise KeyboardInterrupt
        return read_frame(path, *size)

    with monkeypatch.context() as patch:
        patch.setattr(data.store.shards, "read_frame", crash)
        with pytest.raises(KeyboardInterrupt):
            decoded_frames(pictures, 8, 16)
    decoded_frames(pictures, 8, 16)
    assert sorted(decoded) == pictures[4:]


def test_training_windows_do_not_depend_on_shards(settings, dance_root, monkeypatch):
    chosen = settings(DR=str(dance_root), train_vi_len=4, holdout=(40, 50))
    whole, whole_clips = DanceWindows(chosen, CPU), validation_clips(chosen)
    monkeypatch.setattr(data.store.shards, "SHARD_BYTES", 7 * 3 * 32 * 64)
    parts = DanceWindows(chosen, CPU)
    assert isinstance(parts.frames, Shards)
    for one, other in zip(whole.batches(0), parts.batches(0), strict=True):
        assert_same_batch(one, other)
    assert_same_clips(whole_clips, validation_clips(chosen))


def test_augmentation_learns_the_same_from_shards(settings, dance_root):
    data = DanceWindows(settings(DR=str(dance_root), train_vi_len=4), CPU)
    sets = [data.frames, data.poses]
    parts = [Shards([x[:25].numpy(), x[25:].numpy()]) for x in sets]
    one, other = (Augmentation(*x, np.arange(60), 0) for x in (sets, parts))
    assert torch.equal(one.background, other.background)
    assert np.array_equal(one.margins, other.margins)
