"""How a dance data set lies on disk (docs/data.md): frames, a pose image for each, and cuts."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.errors import UserError
from data import layout
from data.placement import frames_of
from data.store.picture_files import Pictures
from data.store.preparation import check_finished
from data.store.prepared import open_pictures
from data.store.remote import RemotePath, is_there, open_binary
from data.store.shards import Shards

LONGEST_CUTS = 1 << 24  # bytes of cuts.txt


@dataclass(frozen=True)
class Split:
    """Frames and their pose images, in the order of their numbers."""

    images: Pictures
    poses: Pictures

    @property
    def numbers(self) -> np.ndarray:
        """(frames,) int"""
        return self.images.numbers

    def decoded(self, settings) -> tuple[np.ndarray | Shards, np.ndarray | Shards]:
        """Return frames and pose images, (frames, H, W, 3) uint8 each; decoded once."""
        return frames_of(self.images, settings), frames_of(self.poses, settings)


def list_split(root: Path | RemotePath, name: str) -> Split:
    """List `train` or `val`. Raises UserError for a frame without its pose image."""
    check_root(root)
    return paired(*(open_pictures(folder) for folder in split_folders(root, name)))


def check_root(root: Path | RemotePath) -> None:
    """Raise UserError for what holds no dance, or is not prepared to the end."""
    layout.check_root(root, layout.DANCE)
    check_finished(root)


def split_folders(root: Path | RemotePath, name: str) -> list[Path]:
    """Return the folders of the frames and of the pose images of a split."""
    return [root / name / f"{name}_{kind}" for kind in ("img", "label")]


def paired(images: Pictures, poses: Pictures) -> Split:
    """Give every frame its pose image. Raises UserError for a frame that has none."""
    if not np.array_equal(images.numbers, poses.numbers):
        lacking = np.flatnonzero(~np.isin(images.numbers, poses.numbers))
        if len(lacking):
            raise UserError(f"{images.paths[lacking[0]]} has no pose image in {poses.folder}")
    return Split(images, poses.select(images.numbers))


def read_cuts(root: Path | RemotePath) -> list[int]:
    """Return the frame numbers of `train/cuts.txt`, which begin a new recording ([] without)."""
    file = root / "train" / "cuts.txt"
    if not is_there(file):
        return []
    try:
        with open_binary(file) as opened:
            if len(text := opened.read(LONGEST_CUTS + 1)) > LONGEST_CUTS:
                raise ValueError(f"more than {LONGEST_CUTS} bytes")
        words = text.decode().split()
        if bad := [word for word in words if not re.fullmatch(r"\d{1,9}", word)]:
            raise ValueError(f"not {bad[0][:20]!r}")
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: expected one frame number a line ({error})") from None
    return [int(word) for word in words]
