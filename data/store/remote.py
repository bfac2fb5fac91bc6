"""Datasets behind a URL: s3://, gs://, https://, memory:// and whatever else fsspec knows."""

import functools
import hashlib
import os
from collections.abc import Callable, Iterator
from inspect import isgenerator
from pathlib import Path
from types import SimpleNamespace
from typing import BinaryIO

from upath.extensions import ProxyUPath

from core.errors import UserError
from core.files import open_regular

# How file systems call the time of the last change, or what else changes with the content.
VERSION_FIELDS = ("mtime", "LastModified", "last_modified", "updated", "created", "ETag", "etag")


def _answered(method: Callable) -> Callable:
    """Let a method of a path raise OSError only: clients of object stores have errors of their own.

    What it would ask for step by step is asked for at once.
    """

    @functools.wraps(method)
    def wrapped(path: "RemotePath", *given, **named):
        try:
            found = method(path, *given, **named)
            return list(found) if isgenerator(found) else found
        except OSError:
            raise
        except Exception as error:
            raise OSError(None, f"{type(error).__name__}: {error}", str(path)) from error

    return wrapped


class RemotePath(ProxyUPath):
    """What stands in for a `pathlib.Path` where a dataset is behind a URL.

    What `iterdir` lists needs no further question about its size and kind.
    """

    listed: dict | None = None  # what the listing of its folder says of it

    exists, open = _answered(ProxyUPath.exists), _answered(ProxyUPath.open)

    @_answered
    def iterdir(self) -> Iterator["RemotePath"]:
        place = self.__wrapped__
        for entry in place.fs.ls(place.path, detail=True):
            name = entry["name"].rstrip("/")
            if name != place.path.rstrip("/"):  # some list the folder itself too
                path = self / name.rpartition("/")[2]
                path.listed = entry
                yield path

    @_answered
    def is_dir(self) -> bool:
        return self.listed["type"] == "directory" if self.listed else super().is_dir()

    @_answered
    def stat(self) -> SimpleNamespace:
        """Return size, and a time of change: a number that is another when the content is."""
        info = self.listed or super().stat().as_info()
        version = "".join(str(info[field]) for field in VERSION_FIELDS if info.get(field))
        number = int.from_bytes(hashlib.sha256(version.encode()).digest()[:7])
        return SimpleNamespace(st_size=info["size"], st_mtime_ns=number)


def as_path(text: str) -> Path | RemotePath:
    """Return the path, or for a URL what stands in for one.

    Raises UserError where fsspec does not know the protocol, or a package for it is missing.
    """
    if "://" not in text:
        return Path(text)
    try:
        path = RemotePath(text)
        assert path.fs  # made when first asked for, which is where it may be refused
        return path
    except (ImportError, ValueError) as error:
        raise UserError(f"{text}: {error}") from None


def open_binary(path: Path | RemotePath) -> BinaryIO:
    """Open a file, wherever it lies, for reading. Raises OSError for what is no file."""
    return path.open("rb") if isinstance(path, RemotePath) else open_regular(path)


def is_there(path: Path | RemotePath) -> bool:
    """Tell whether anything has this name, be it a link that leads nowhere."""
    return path.exists() if isinstance(path, RemotePath) else os.path.lexists(path)
