"""Datasets behind a URL, by fsspec: s3://, gs://, https://, memory:// and whatever it knows."""

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import BinaryIO

import fsspec

from core.errors import UserError
from core.files import open_regular

# How file systems call the time of the last change, or what else changes with the content.
VERSION_FIELDS = ("mtime", "LastModified", "last_modified", "updated", "created", "ETag", "etag")


def as_path(text: str) -> "Path | RemotePath":
    """Return the path, or for a URL what stands in for one.

    Raises UserError where fsspec does not know the protocol, or a package for it is missing.
    """
    if "://" not in text:
        return Path(text)
    try:
        system, path = fsspec.core.url_to_fs(text)
    except (ImportError, ValueError) as error:
        raise UserError(f"{text}: {error}") from None
    return RemotePath(system, path)


class RemotePath:
    """What this project asks of `pathlib.Path`, of a place in an fsspec file system.

    Raises OSError where the other side does not answer. What `iterdir` lists needs no further
    question about its size and kind.
    """

    def __init__(self, system: fsspec.AbstractFileSystem, path: str, info: dict | None = None):
        self._system = system
        self._path = PurePosixPath(path)
        self._info = info

    def __truediv__(self, name: str) -> "RemotePath":
        return RemotePath(self._system, str(self._path / name))

    def __str__(self) -> str:
        return self._system.unstrip_protocol(str(self._path))

    def __lt__(self, other: "RemotePath") -> bool:
        return str(self) < str(other)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemotePath) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    @property
    def name(self) -> str:
        return self._path.name

    @property
    def stem(self) -> str:
        return self._path.stem

    @property
    def suffix(self) -> str:
        return self._path.suffix

    @property
    def parent(self) -> "RemotePath":
        return RemotePath(self._system, str(self._path.parent))

    def resolve(self) -> "RemotePath":
        return self

    def exists(self) -> bool:
        with _as_os_error(self):
            return self._info is not None or self._system.exists(str(self._path))

    def is_dir(self) -> bool:
        with _as_os_error(self):
            if self._info is not None:
                return self._info["type"] == "directory"
            return self._system.isdir(str(self._path))

    def is_file(self) -> bool:
        return self.exists() and not self.is_dir()

    def iterdir(self) -> Iterator["RemotePath"]:
        with _as_os_error(self):
            entries = self._system.ls(str(self._path), detail=True)
        for entry in entries:
            if PurePosixPath(entry["name"]) != self._path:  # some list the folder itself too
                yield RemotePath(self._system, entry["name"].rstrip("/"), entry)

    def stat(self) -> SimpleNamespace:
        """Return size, and a time of change: a number that is another when the content is."""
        with _as_os_error(self):
            info = self._info or self._system.info(str(self._path))
        version = "".join(str(info[field]) for field in VERSION_FIELDS if info.get(field))
        number = int.from_bytes(hashlib.sha256(version.encode()).digest()[:7])
        return SimpleNamespace(st_size=info["size"], st_mtime_ns=number)

    def open(self) -> BinaryIO:
        with _as_os_error(self):
            return self._system.open(str(self._path), "rb")

    def read_text(self) -> str:
        with self.open() as file:
            return file.read().decode()


@contextlib.contextmanager
def _as_os_error(path: RemotePath) -> Iterator[None]:
    """Clients of object stores have exceptions of their own."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise OSError(None, f"{type(error).__name__}: {error}", str(path)) from error


def open_binary(path: Path | RemotePath) -> BinaryIO:
    """Open a file, wherever it lies, for reading. Raises OSError for what is no file."""
    return path.open() if isinstance(path, RemotePath) else open_regular(path)


def is_there(path: Path | RemotePath) -> bool:
    """Tell whether anything has this name, be it a link that leads nowhere."""
    return path.exists() if isinstance(path, RemotePath) else os.path.lexists(path)
