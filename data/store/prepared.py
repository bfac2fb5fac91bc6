"""Picture folders that are decoded ahead of time: shards in the place of the pictures.

A prepared folder holds the shards, `numbers.npy` with the frame numbers, and `frames.json`, which
says what they are of. It is opened in constant time and without the pictures; that these change
is noticed by preparing again, which decodes what changed.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from core.errors import UserError
from core.files import atomic_write
from data.store.shards import (
    Shards,
    decode,
    digest,
    frames_in_shard,
    identities,
    open_shards,
    progress,
    remove_others,
    shard_slices,
    stat_of,
    write_shard,
)

INDEX_FILE, NUMBERS_FILE = "frames.json", "numbers.npy"
FORMAT = "conditional-video-vae frames 1"


def names_and_sizes(paths: Iterable[Path]) -> str:
    """Return what tells one set of pictures from another, whenever they were copied."""
    return digest(*(f"{path.name} {stat_of(path).st_size}" for path in paths))


class PreparedPictures(Sequence):
    """The frames of a prepared folder, in the place of the list of its pictures."""

    def __init__(self, folder: Path):
        """Open a folder. Raises UserError where it is not one that `prepare` wrote."""
        self.folder = folder
        try:
            index = json.loads((folder / INDEX_FILE).read_text())
            if index["format"] != FORMAT:
                raise ValueError(f"format {index['format']!r}")
            self.numbers = np.load(folder / NUMBERS_FILE, mmap_mode="r")
            self.height, self.width = int(index["height"]), int(index["width"])
            self.content = str(index["content"])
            self._files = [folder / Path(name).name for name in index["shards"]]
            self._slices = shard_slices(len(self.numbers), int(index["frames_in_shard"]))
            if len(self._slices) != len(self._files):
                raise ValueError(f"{len(self._files)} shards for {len(self.numbers)} frames")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{folder}: not prepared as it should be ({error})") from None

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index):
        """Return what a picture would be called, for messages; of a slice, the list."""
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        return self.folder / f"{self.numbers[index]}.png"

    def frames(self, height: int, width: int) -> np.ndarray | Shards:
        """Return (len, height, width, 3) uint8. Raises UserError for another size, or a gap."""
        if (height, width) != (self.height, self.width):
            raise UserError(
                f"{self.folder} is prepared with --frame_H {self.height} --frame_W {self.width}, "
                f"not {height} and {width}"
            )
        parts = open_shards(self._files, self._slices, height, width)
        if missing := [f.name for f, part in zip(self._files, parts) if part is None]:
            raise UserError(
                f"{self.folder}: {len(missing)} of {len(parts)} shards are missing or damaged, "
                f"such as {missing[0]}; python -m prepare makes them"
            )
        return parts[0] if len(parts) == 1 else Shards(parts)


def is_prepared(folder: Path) -> bool:
    """Tell a prepared folder from one of pictures."""
    return (folder / INDEX_FILE).exists()


def prepare(
    pictures: dict[int, Path],
    target: Path,
    height: int,
    width: int,
    num_workers: int | None,
    share: tuple[int, int] = (0, 1),
) -> tuple[int, int]:
    """Write pictures, given by their numbers, as a prepared folder; shards that are there stay.

    share (i, n) makes every n-th shard from the i-th on, for n processes on any machines. Returns
    how many shards it decoded, and how many the folder has.
    """
    paths = list(pictures.values())
    files = [target / f"{name}.npy" for name in identities(paths, height, width)]
    index = {
        "format": FORMAT,
        "height": height,
        "width": width,
        "frames_in_shard": frames_in_shard(height, width),
        "content": names_and_sizes(paths),
        "shards": [file.name for file in files],
    }
    with atomic_write(target / NUMBERS_FILE) as opened:
        np.save(opened, np.array(list(pictures)))
    with atomic_write(target / INDEX_FILE) as opened:
        opened.write(json.dumps(index).encode())
    remove_others(target.glob("*.npy"), keep=[target / NUMBERS_FILE, *files])
    slices = shard_slices(len(paths), frames_in_shard(height, width))
    parts = open_shards(files, slices, height, width)
    missing = [n for n in range(share[0], len(parts), share[1]) if parts[n] is None]
    frames = sum(slices[n].stop - slices[n].start for n in missing)
    with progress(f"decoding {target.name}", frames, bool(missing)) as bar:
        for number in missing:
            decoded = decode(paths[slices[number]], height, width, num_workers, bar.update)
            write_shard(files[number], decoded)
    return len(missing), len(parts)
