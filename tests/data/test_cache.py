"""The cache of decoded frames: found again, brought up to date, rebuilt."""

import os

import numpy as np
import pytest

import data.store.shards
from core.errors import UserError
from data.store.cache import default_cache_dir
from data.store.images import read_frame
from tests.support.data_sets import decoded_frames, noise_picture


@pytest.fixture
def pictures(tmp_path):
    rng = np.random.default_rng(3)
    paths = [tmp_path / "pictures" / f"{n}.png" for n in range(5)]
    paths[0].parent.mkdir()
    for path in paths:
        noise_picture(rng, (40, 30)).save(path)
    return paths


def files_in(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_the_second_call_decodes_nothing(pictures, decoded, own_cache):
    first = decoded_frames(pictures, 8, 16)
    assert sorted(decoded) == pictures
    decoded.clear()
    second = decoded_frames(pictures, 8, 16)
    assert decoded == []
    assert np.array_equal(first, second)
    assert len(files_in(own_cache)) == 1
    second[:] = 0  # a private view: the file stays as it is
    assert np.array_equal(decoded_frames(pictures, 8, 16), first)


def test_the_cache_lies_where_it_was_asked_for(pictures, own_cache, tmp_path):
    assert default_cache_dir().is_relative_to(own_cache)
    decoded_frames(pictures, 8, 16, tmp_path / "here")
    assert files_in(own_cache) == []
    assert len(files_in(tmp_path / "here")) == 1


def test_another_size_has_its_own_cache(pictures, decoded):
    small = decoded_frames(pictures, 8, 16)
    assert decoded_frames(pictures, 16, 8).shape == (5, 16, 8, 3)
    decoded.clear()
    assert np.array_equal(decoded_frames(pictures, 8, 16), small)
    assert decoded == []


def test_a_changed_picture_is_decoded_anew_and_the_old_cache_dropped(pictures, decoded, own_cache):
    before = decoded_frames(pictures, 8, 16).copy()
    noise_picture(np.random.default_rng(9), (40, 30)).save(pictures[2])
    after = decoded_frames(pictures, 8, 16)
    same = [np.array_equal(*pair) for pair in zip(before, after)]
    assert same == [True, True, False, True, True]
    assert len(files_in(own_cache)) == 1

    decoded.clear()
    stat = pictures[0].stat()
    os.utime(pictures[0], ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    decoded_frames(pictures, 8, 16)
    assert sorted(decoded) == pictures
    assert np.array_equal(decoded_frames(pictures[:3], 8, 16), after[:3])


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda data: data[:100],
        lambda data: data[:10],
        lambda data: b"",
        lambda data: bytes(len(data)),
        lambda data: b"garbage" * 100,
        lambda data: b"PK\x03\x04" + data[4:],
        lambda data: data[:10] + b"?" * 20 + data[30:],
    ],
    ids=["one_short", "header", "magic", "empty", "zeros", "garbage", "zip", "header_lost"],
)
def test_a_damaged_cache_is_rebuilt(pictures, decoded, own_cache, damage):
    expected = decoded_frames(pictures, 8, 16).copy()
    (file,) = files_in(own_cache)
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    decoded.clear()
    assert np.array_equal(decoded_frames(pictures, 8, 16), expected)
    assert sorted(decoded) == pictures
    assert file.read_bytes() == whole


def test_a_cache_of_another_shape_or_type_is_not_taken(pictures, own_cache):
    expected = decoded_frames(pictures, 8, 16).copy()
    (file,) = files_in(own_cache)
    for wrong in (expected[:4], expected.astype(np.float32), expected.transpose(0, 2, 1, 3)):
        with file.open("wb") as opened:
            np.save(opened, wrong)
        assert np.array_equal(decoded_frames(pictures, 8, 16), expected)


def test_without_a_place_for_the_cache_frames_stay_in_memory(pictures, tmp_path, capsys):
    (tmp_path / "file").write_text("not a folder")
    found = decoded_frames(pictures, 8, 16, tmp_path / "file")
    assert np.array_equal(found[1], read_frame(pictures[1], 8, 16))
    assert "--cache_dir" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "not a folder"


def test_a_crash_while_decoding_or_writing_leaves_no_file(pictures, own_cache, monkeypatch):
    def crash(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(data.store.shards, "read_frame", crash)
        with pytest.raises(KeyboardInterrupt):
            decoded_frames(pictures, 8, 16)
    with monkeypatch.context() as patch:
        patch.setattr(np, "save", lambda file, _: (file.write(b"half"), crash()))
        with pytest.raises(KeyboardInterrupt):
            decoded_frames(pictures, 8, 16)
    pictures[3].write_bytes(b"broken")
    with pytest.raises(UserError, match=r"3\.png"):
        decoded_frames(pictures, 8, 16)
    pictures[3].unlink()
    with pytest.raises(UserError, match=r"3\.png"):
        decoded_frames(pictures, 8, 16)
    assert files_in(own_cache) == []
