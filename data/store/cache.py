"""The cache of decoded frames: every picture is decoded and resized once, for all runs.

It is kept in shards (shards.py), in a folder for each picture folder. A changed dataset finds
no shard for what changed and builds a new one; a damaged one is noticed and rebuilt.
"""

import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from core.files import remove_leftovers
from data.store.shards import (
    FileStat,
    decode_shards,
    digest,
    frames_in_shard,
    identities,
    open_shards,
    remove_others,
    shard_slices,
    write_shard,
)


def default_cache_dir() -> Path:
    """Return the folder for caches of all runs: the XDG or Windows cache folder of the user.

    A user without a home, as in a container with another user's number, has one in the folder
    for temporary files.
    """
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    try:
        folder = Path(base) if base else Path.home() / ".cache"
    except RuntimeError:
        folder = Path(tempfile.gettempdir()) / f"cache-{os.getuid()}"
    return folder / "conditional-video-vae"


def cached_shards(
    paths: Sequence[Path],
    stats: Sequence[FileStat],
    height: int,
    width: int,
    cache_dir: Path | None = None,
    num_workers: int | None = None,
) -> list[np.ndarray]:
    """Return the pictures as arrays (n, height, width, 3) of uint8, a shard each.

    Decodes what the cache does not hold yet (`decode_shards`). Where the cache folder cannot be
    written, says so and keeps the frames in memory.
    """
    folder = (cache_dir or default_cache_dir()) / digest(str(paths[0].parent.resolve()))
    ending = f"-{height}x{width}.npy"
    files = [folder / f"{name}{ending}" for name in identities(stats, height, width)]
    slices = shard_slices(len(paths), frames_in_shard(height, width))
    parts = open_shards(files, slices, height, width)
    missing = [number for number, part in enumerate(parts) if part is None]
    for number in missing:
        if files[number].exists():
            print(f"{files[number]}: damaged; the frames are decoded again", file=sys.stderr)
    kept = True
    if missing:
        remove_leftovers(folder)
    decoding = decode_shards(missing, slices, paths, height, width, num_workers)
    for number, parts[number] in decoding:
        kept = kept and _keep(files[number], parts, number)
    if missing and kept:
        remove_others(folder.glob(f"*{ending}"), keep=files)
    return parts


def _keep(file: Path, parts: list[np.ndarray], number: int) -> bool:
    """Write a decoded shard and map the file in its place; without one it stays in memory."""
    frames = parts[number]
    try:
        if file.parent.is_symlink():  # ours never is; who made it may want another file replaced
            raise OSError(f"{file.parent} is a link")
        write_shard(file, frames)
    except OSError as error:
        print(f"cache not kept: {error} (choose a folder with --cache_dir)", file=sys.stderr)
        return False
    (mapped,) = open_shards([file], [slice(0, len(frames))], *frames.shape[1:3])
    if mapped is not None:  # another process may have removed it
        parts[number] = mapped
    return True
