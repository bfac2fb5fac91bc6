"""Decoded frames in files of bounded size that are mapped into memory, and read as one array.

A shard is a NumPy array (frames, H, W, 3) of uint8, followed by a checksum of each frame. It is
written whole or not at all, and its name is a digest of what it was made from, so that a changed
picture finds no shard. Only the pages that are read take memory, and the system gives them back
when it needs it.
"""

import contextlib
import hashlib
import os
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from core.errors import UserError
from core.files import atomic_write
from data.store.images import read_frame
from data.store.mapped import watch_mapped

SHARD_BYTES = 1 << 28  # one is held in memory while it is decoded
CHECKED_FRAMES = 1 << 15  # of a set of one shard, so many are compared with their checksums
CHECKED_BYTES = 1 << 23  # of a larger set, so much
FORMAT_VERSION = 2  # raise when decoding changes, so that older shards are not taken


class Shards:
    """Frames in several arrays (n, H, W, 3), read as one along the first dimension."""

    device = torch.device("cpu")

    def __init__(self, parts: Sequence[np.ndarray]):
        self.parts = list(parts)
        self._begins = np.cumsum([0, *map(len, parts)])
        self.shape = (int(self._begins[-1]), *parts[0].shape[1:])
        self.nbytes = sum(part.nbytes for part in parts)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: slice | np.ndarray | Tensor) -> np.ndarray | Tensor:
        """Copy frames into memory: a tensor for a tensor of numbers, else an array."""
        if isinstance(index, Tensor):
            return torch.from_numpy(self._gather(index.numpy()))
        if isinstance(index, slice):
            index = np.arange(*index.indices(len(self)))
        return self._gather(np.asarray(index))

    def to(self, device: torch.device) -> Tensor:
        """Copy all frames to a device."""
        frames = torch.empty(self.shape, dtype=torch.uint8, device=device)
        for begin, part in zip(self._begins, self.parts):
            frames[begin : begin + len(part)] = torch.from_numpy(part)
        return frames

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return np.concatenate(self.parts).astype(dtype or np.uint8, copy=False)

    def _gather(self, index: np.ndarray) -> np.ndarray:
        frames = np.empty((*index.shape, *self.shape[1:]), np.uint8)
        which = np.searchsorted(self._begins, index, side="right") - 1
        for number in np.unique(which):
            here = which == number
            frames[here] = self.parts[number][index[here] - self._begins[number]]
        return frames


def frames_in_shard(height: int, width: int) -> int:
    """Return how many frames of a size a shard takes."""
    return max(1, SHARD_BYTES // (3 * height * width))


def shard_slices(frames: int, in_shard: int) -> list[slice]:
    """Return which frames of a set make up each shard."""
    return [slice(a, min(a + in_shard, frames)) for a in range(0, frames, in_shard)]


def spread(index: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return as many of the frames as a shard takes, spread over all of them."""
    most = frames_in_shard(height, width)
    if len(index) <= most:
        return index
    return index[np.linspace(0, len(index) - 1, most).astype(int)]


def digest(*parts: str) -> str:
    """Return a name for what the parts say."""
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:24]


class FileStat(NamedTuple):
    """What tells whether a picture is the one that was decoded."""

    name: str
    size: int  # bytes
    mtime_ns: int


def stat_of(path: Path) -> FileStat:
    """Return size and time of a picture. Raises UserError where it is not there any more."""
    try:
        stat = path.stat()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    return FileStat(path.name, stat.st_size, stat.st_mtime_ns)


def identities(stats: Sequence[FileStat], height: int, width: int) -> list[str]:
    """Return for each shard everything that, when it changes, must lead to a new one, digested."""
    lines = [f"{stat.name} {stat.size} {stat.mtime_ns}" for stat in stats]
    head = f"{FORMAT_VERSION} {height}x{width}"
    parts = shard_slices(len(stats), frames_in_shard(height, width))
    return [digest(head, *lines[part]) for part in parts]


def open_shards(
    files: Sequence[Path], parts: Sequence[slice], height: int, width: int
) -> list[np.ndarray | None]:
    """Map every shard, with None for one that is missing, damaged or not what it should be.

    Frames spread over the set are compared with their checksums: no more, however large it is.
    """
    in_all = CHECKED_BYTES // (3 * height * width) if len(parts) > 1 else CHECKED_FRAMES
    spread = np.diff(np.arange(len(parts) + 1) * in_all // len(parts))  # frames of each shard
    return [
        _open(file, (part.stop - part.start, height, width, 3), int(checked))
        for file, part, checked in zip(files, parts, spread, strict=True)
    ]


def _open(file: Path, shape: tuple[int, ...], checked: int) -> np.ndarray | None:
    if not file.is_file():
        return None
    try:
        watch_mapped(file)
        frames = np.lib.format.open_memmap(file, mode="c")
        if frames.shape != shape or frames.dtype != np.uint8 or not frames.flags.c_contiguous:
            return None
        stored = np.memmap(file, np.uint32, "r", frames.offset + frames.nbytes, len(frames))
    except Exception:  # cut short, or with a damaged header, which NumPy parses as Python
        return None
    some = np.unique(np.linspace(0, len(frames) - 1, checked).astype(int))
    return frames if np.array_equal(checksums(frames, some), stored[some]) else None


def write_shard(file: Path, frames: np.ndarray) -> None:
    """Write a shard whole or not at all."""
    with atomic_write(file) as opened:
        np.save(opened, frames)
        opened.write(checksums(frames, range(len(frames))).tobytes())


def checksums(frames: np.ndarray, which: Sequence[int]) -> np.ndarray:
    """Return the checksum of some frames."""
    return np.array([zlib.crc32(frames[index]) for index in which], np.uint32)


def decode_shards(
    numbers: Sequence[int],
    slices: Sequence[slice],
    paths: Sequence[Path],
    height: int,
    width: int,
    num_workers: int | None,
) -> Iterator[tuple[int, np.ndarray]]:
    """Decode the pictures of some shards, and yield number and frames of each.

    In threads, of which there is one per core by default: Pillow releases the interpreter lock
    while it works. Raises UserError naming the first unreadable picture.
    """
    frames = sum(slices[number].stop - slices[number].start for number in numbers)
    what = f"decoding {paths[0].parent.name}"
    disable = None if frames else True  # else shown where somebody watches

    def read_into(frame: np.ndarray, path: Path) -> None:
        frame[:] = read_frame(path, height, width)

    with (
        tqdm(total=frames, desc=what, unit="frame", leave=False, disable=disable) as bar,
        ThreadPoolExecutor(num_workers or os.cpu_count()) as pool,
    ):
        for number in numbers:
            wanted = paths[slices[number]]
            shard = np.empty((len(wanted), height, width, 3), np.uint8)
            reading = pool.map(read_into, shard, wanted)
            try:
                for _ in reading:
                    bar.update()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
            yield number, shard


def remove_others(files: Iterable[Path], keep: Collection[Path]) -> None:
    """Remove what a folder held before its pictures changed; a file in use may stay (Windows)."""
    for file in files:
        if file not in keep:
            with contextlib.suppress(OSError):
                file.unlink()
