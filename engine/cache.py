"""The decoded-frame cache: every picture is decoded and resized once, for all runs.

A cache file is a NumPy array (frames, H, W, 3) of uint8, memory-mapped, and behind it a checksum
of each frame. Its name is a digest of what it was made from, so a changed dataset finds no file
and builds a new one; it is written beside its place and renamed, so a half-written one is never
found; a damaged one is noticed by its checksums and made anew.
"""

import contextlib
import hashlib
import os
import sys
import zlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from engine.errors import UserError
from engine.files import replacing
from engine.images import read_frame

CHECKED_FRAMES = 1 << 15  # of a larger cache, so many are compared with their checksums
FORMAT_VERSION = 2  # raise when decoding changes, so that older caches are not taken


def default_cache_dir() -> Path:
    """Return the folder for caches of all runs: the XDG or Windows cache folder of the user."""
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    return (Path(base) if base else Path.home() / ".cache") / "conditional-video-vae"


def decoded_frames(
    paths: Sequence[Path],
    height: int,
    width: int,
    cache_dir: Path | None = None,
    num_workers: int | None = None,
) -> np.ndarray:
    """Return the pictures as one array (len(paths), height, width, 3) of uint8.

    Decodes with `num_workers` threads (default: one per core) where no cache holds them yet.
    Raises UserError naming the first unreadable picture. Where the cache folder cannot be
    written, says so and keeps the frames in memory.
    """
    folder = (cache_dir or default_cache_dir()) / _digest(str(paths[0].parent.resolve()))
    file = folder / f"{_digest(*_identity(paths, height, width))}-{height}x{width}.npy"
    shape = (len(paths), height, width, 3)
    if (cached := _open(file, shape)) is not None:
        return cached
    frames = _decode(paths, shape, num_workers)
    try:
        if folder.is_symlink():  # ours never is; whoever made it may want a file elsewhere replaced
            raise OSError(f"{folder} is a link")
        with replacing(file) as opened:
            np.save(opened, frames)
            opened.write(_checksums(frames, range(len(frames))).tobytes())
        _remove_stale(folder.glob(f"*-{height}x{width}.npy"), keep=file)
    except OSError as error:
        print(f"cache not kept: {error} (choose a folder with --cache_dir)", file=sys.stderr)
        return frames
    cached = _open(file, shape)
    return frames if cached is None else cached  # another process may have removed it


def _identity(paths: Sequence[Path], height: int, width: int) -> list[str]:
    """Everything that, when it changes, must lead to a new cache."""
    parts = [f"{FORMAT_VERSION} {height}x{width}"]
    for path in paths:
        try:
            stat = path.stat()
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror})") from None
        parts.append(f"{path.name} {stat.st_size} {stat.st_mtime_ns}")
    return parts


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:24]


def _open(file: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """Map a cache file, or return None where it is missing or not what it should be."""
    if not file.is_file():
        return None
    try:
        frames = np.lib.format.open_memmap(file, mode="c")
        if frames.shape != shape or frames.dtype != np.uint8 or not frames.flags.c_contiguous:
            return None
        stored = np.memmap(file, np.uint32, "r", frames.offset + frames.nbytes, len(frames))
    except Exception:  # cut short, or with a damaged header, which NumPy parses as Python
        return None
    some = np.unique(np.linspace(0, len(frames) - 1, CHECKED_FRAMES).astype(int))
    if np.array_equal(_checksums(frames, some), stored[some]):
        return frames
    print(f"{file}: damaged; the frames are decoded again", file=sys.stderr)
    return None


def _checksums(frames: np.ndarray, which: Sequence[int]) -> np.ndarray:
    return np.array([zlib.crc32(frames[index]) for index in which], np.uint32)


def _decode(paths: Sequence[Path], shape: tuple[int, ...], num_workers: int | None) -> np.ndarray:
    """Decode in threads: Pillow releases the interpreter lock while it inflates and resizes."""
    _, height, width, _ = shape
    frames = np.empty(shape, np.uint8)

    def fill(index: int) -> None:
        frames[index] = read_frame(paths[index], height, width)

    label = f"decoding {paths[0].parent.name}"
    with ThreadPoolExecutor(num_workers or os.cpu_count()) as pool:
        done = pool.map(fill, range(len(paths)))
        try:
            for _ in tqdm(done, label, len(paths), unit="frame", leave=False, disable=None):
                pass
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return frames


def _remove_stale(files: Iterable[Path], keep: Path) -> None:
    """Drop what the same folder held before it changed; a file in use may stay (Windows)."""
    for file in files:
        if file != keep:
            with contextlib.suppress(OSError):
                file.unlink()
