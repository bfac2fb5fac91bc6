"""Picture folders that are decoded ahead of time: shards in the place of the pictures.

A prepared folder holds the shards, `numbers.npy` with the frame numbers, and `frames.json`, which
says what they were made from. It is opened in constant time and without the pictures; a change of
these is noticed by preparing again, which decodes what changed.
"""

import json
from pathlib import Path

import numpy as np

from core.errors import UserError
from core.files import atomic_write, parse_json
from data.store.picture_files import PictureFiles, Pictures
from data.store.shards import (
    decode_shards,
    frames_in_shard,
    identities,
    open_shards,
    remove_others,
    shard_slices,
    write_shard,
)

INDEX_FILE, NUMBERS_FILE = "frames.json", "numbers.npy"
FORMAT = "conditional-video-vae frames 1"


class PreparedPictures(Pictures):
    """A prepared folder, in the place of the pictures it was made from (`Pictures`)."""

    def __init__(self, folder: Path):
        """Open a folder. Raises UserError where it is not one that `prepare` wrote."""
        super().__init__()
        self.folder = folder
        try:
            index = parse_json((folder / INDEX_FILE).read_text())
            if index["format"] != FORMAT:
                raise ValueError(f"format {index['format']!r}")
            self.numbers = np.load(folder / NUMBERS_FILE, mmap_mode="r")
            self.height, self.width = int(index["height"]), int(index["width"])
            self.content = str(index["content"])
            self._files = [folder / Path(name).name for name in index["shards"]]
            self._slices = shard_slices(len(self.numbers), int(index["frames_in_shard"]))
            if len(self._slices) != len(self._files):
                raise ValueError(f"{len(self._files)} shards for {len(self.numbers)} frames")
        except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
            raise UserError(f"{folder}: not prepared as it should be ({error})") from None

    @property
    def paths(self) -> list[Path]:
        return [self.folder / f"{number}.png" for number in self.numbers]

    def select(self, numbers: np.ndarray) -> "PreparedPictures":
        """Return the folder itself. Raises UserError where it holds other numbers than these."""
        if not np.array_equal(numbers, self.numbers):
            raise UserError(
                f"{self.folder}: prepared with other frame numbers than the frames it belongs to; "
                "python -m prepare makes both"
            )
        return self

    def _parts(self, height: int, width: int, *_) -> list[np.ndarray]:
        """Open the shards; no cache and no worker is needed.

        Raises UserError for another size, or a gap.
        """
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
        return parts


def open_pictures(folder: Path) -> Pictures:
    """Open a folder, prepared or of pictures: nobody else asks which it is.

    Raises UserError as `PictureFiles.in_folder` and `PreparedPictures` do.
    """
    if (folder / INDEX_FILE).exists():
        return PreparedPictures(folder)
    return PictureFiles.in_folder(folder)


def remove_prepared(folder: Path) -> None:
    """Remove what `prepare` wrote into a folder, if it did; the index last."""
    if (folder / INDEX_FILE).exists():
        remove_others(folder.glob("*.npy"), keep=[])
        (folder / INDEX_FILE).unlink()


def prepare(
    pictures: PictureFiles,
    target: Path,
    height: int,
    width: int,
    num_workers: int | None,
    share: tuple[int, int] = (0, 1),
) -> tuple[int, int]:
    """Write pictures as a prepared folder; shards that are there stay.

    share (i, n) makes every n-th shard from the i-th on, for n processes on any machines. Returns
    how many shards it decoded, and how many the folder has.
    """
    files = [target / f"{name}.npy" for name in identities(pictures.stats, height, width)]
    index = {
        "format": FORMAT,
        "height": height,
        "width": width,
        "frames_in_shard": frames_in_shard(height, width),
        "content": pictures.content,
        "shards": [file.name for file in files],
    }
    with atomic_write(target / NUMBERS_FILE) as opened:
        np.save(opened, pictures.numbers)
    with atomic_write(target / INDEX_FILE) as opened:
        opened.write(json.dumps(index).encode())
    remove_others(target.glob("*.npy"), keep=[target / NUMBERS_FILE, *files])
    slices = shard_slices(len(pictures), frames_in_shard(height, width))
    parts = open_shards(files, slices, height, width)
    missing = [n for n in range(share[0], len(parts), share[1]) if parts[n] is None]
    decoding = decode_shards(missing, slices, pictures.paths, height, width, num_workers)
    for number, frames in decoding:
        write_shard(files[number], frames)
    return len(missing), len(parts)
