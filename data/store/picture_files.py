"""A folder of pictures as one object, so that it is listed, stat'ed and decoded once."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from data.store.cache import cached_shards
from data.store.images import numbered_images
from data.store.shards import FileStat, Shards, digest, stat_of


class Pictures(ABC):
    """Numbered pictures, as files (`PictureFiles`) or prepared (`PreparedPictures`)."""

    numbers: np.ndarray  # (pictures,) int, rising
    folder: Path  # for messages
    paths: Sequence[Path]  # of prepared ones, what the pictures would be called
    content: str  # tells one set of pictures from another, whenever they were copied

    def __init__(self) -> None:
        self._frames: dict[tuple[int, int], np.ndarray | Shards] = {}

    def __len__(self) -> int:
        return len(self.numbers)

    @abstractmethod
    def select(self, numbers: np.ndarray) -> "Pictures":
        """Return the pictures of these numbers, which must all be there."""

    def frames(
        self, height: int, width: int, cache_dir: Path | None = None, num_workers: int | None = None
    ) -> np.ndarray | Shards:
        """Return (pictures, height, width, 3) uint8. Further calls return the same array."""
        size = height, width
        if size not in self._frames:
            parts = self._parts(height, width, cache_dir, num_workers)
            self._frames[size] = parts[0] if len(parts) == 1 else Shards(parts)
        return self._frames[size]

    @abstractmethod
    def _parts(
        self, height: int, width: int, cache_dir: Path | None, num_workers: int | None
    ) -> list[np.ndarray]:
        """Return the shards of the frames."""


class PictureFiles(Pictures):
    """Pictures as files: names, sizes and times are asked for once, and pixels decoded once."""

    def __init__(self, numbers: Sequence[int] | np.ndarray, paths: Sequence[Path]):
        super().__init__()
        self.numbers = np.asarray(numbers)
        self.paths = list(paths)

    @classmethod
    def in_folder(cls, folder: Path) -> "PictureFiles":
        """List a folder. Raises UserError as `numbered_images` does."""
        pictures = numbered_images(folder)
        return cls(list(pictures), list(pictures.values()))

    @property
    def folder(self) -> Path:
        return self.paths[0].parent

    @cached_property
    def stats(self) -> list[FileStat]:
        """Size and time of every picture. Raises UserError where one is gone."""
        return [stat_of(path) for path in self.paths]

    @cached_property
    def content(self) -> str:
        return digest(*(f"{stat.name} {stat.size}" for stat in self.stats))

    def select(self, numbers: np.ndarray) -> "PictureFiles":
        by_number = dict(zip(self.numbers.tolist(), self.paths))
        return PictureFiles(numbers, [by_number[number] for number in numbers.tolist()])

    def _parts(self, *size_and_place) -> list[np.ndarray]:
        return cached_shards(self.paths, self.stats, *size_and_place)
