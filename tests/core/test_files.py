"""Files are written whole or not at all."""

import os
import stat

import pytest

from core.errors import UserError
from core.files import atomic_write, check_new, whole_folder


def write_half(path, error):
    with atomic_write(path) as file:
        file.write(b"half")
        raise error


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, OSError])
def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "log.csv"
    path.write_text("old")
    with pytest.raises(error):
        write_half(path, error)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["log.csv"]


def test_an_exception_before_there_was_a_file_leaves_none(tmp_path):
    with pytest.raises(ValueError, match="stop"):
        write_half(tmp_path / "new" / "a", ValueError("stop"))
    assert os.listdir(tmp_path / "new") == []


def test_a_file_is_replaced_whole_when_the_block_ends(tmp_path):
    path = tmp_path / "deep" / "er" / "a.bin"
    for content in (b"first", b"2"):
        with atomic_write(path) as file:
            file.write(content)
            if content == b"2":
                assert path.read_bytes() == b"first"
        assert path.read_bytes() == content
        assert os.listdir(path.parent) == ["a.bin"]


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_a_replaced_file_has_the_usual_permissions(tmp_path):
    before = os.umask(0o027)
    try:
        with atomic_write(tmp_path / "a") as file:
            file.write(b"x")
    finally:
        after = os.umask(before)
    assert after == 0o027  # the mask of the process is left as it was
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_a_folder_is_whole_or_not_there(tmp_path):
    out = tmp_path / "new" / "data"

    def fill_half():
        with whole_folder(out) as partial:
            (partial / "begun").write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fill_half()
    assert not list(out.parent.iterdir())
    out.mkdir()  # an empty one is taken
    check_new(out)
    with whole_folder(out) as partial:
        (partial / "file").write_text("all")
        assert not any(out.iterdir())
    assert [path.name for path in out.parent.rglob("*")] == ["data", "file"]
    with pytest.raises(UserError, match="exists already"):
        check_new(out)
