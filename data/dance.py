"""The dance data: frames with the pose image of each, as clips and for training.

Layout on disk: docs/data.md. Dimensions: T frames, H×W frame size.
"""

import hashlib
from functools import cached_property
from pathlib import Path

import numpy as np

from core.errors import UserError
from data.dance_files import Split, check_root, list_split, read_cuts
from data.placement import as_images, frames_of
from data.store.images import numbered_folders
from data.store.picture_files import PictureFiles
from data.store.remote import RemotePath, as_path
from data.store.shards import spread
from data.types import Clip
from data.windows import Recording, fixed_starts, split_into_recordings


class DanceData:
    """A dance data set. Nothing is read before it is asked for, and nothing twice.

    `settings` give the place (`DR`, `GT`), the frame size, the cache, and what is trained on,
    held out and validated on. Raises UserError where the data are not as docs/data.md says.
    """

    def __init__(self, settings):
        self.settings = settings

    @cached_property
    def root(self) -> Path | RemotePath:
        return as_path(self.settings.DR)

    @cached_property
    def train(self) -> Split:
        return list_split(self.root, "train")

    @cached_property
    def val(self) -> Split:
        return list_split(self.root, "val")

    @cached_property
    def cuts(self) -> list[int]:
        return read_cuts(self.root)

    def digest(self) -> str:
        """Return what tells one training set from another: a digest of names, sizes and cuts."""
        contents = [self.train.images.content, self.train.poses.content]
        return hashlib.sha256(str([self.cuts, *contents]).encode()).hexdigest()[:16]

    def training_frames(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Return (frames, poses) of the training split, or None where there is none to look in.

        Without the holdout. Of a set that is larger than a shard, as much as that, spread over
        all of it.
        """
        if not (self.root / "train").is_dir():
            return None
        keep = np.ones(len(self.train.numbers), bool)
        keep[self._holdout()] = False
        kept = spread(np.flatnonzero(keep), self.settings.frame_H, self.settings.frame_W)
        frames, poses = self.train.decoded(self.settings)
        return frames[kept], poses[kept]

    def validation_clips(self) -> dict[str, list[Clip]]:
        """Return the clips to validate on, by set: `holdout` first where there is one, `val`.

        `val` is cut into clips of `val_vi_len` frames; where no recording is that long, each is
        taken as it is.
        """
        settings, sets = self.settings, {}
        if settings.holdout is not None:
            check_holdout(self.train.numbers, settings.holdout)
            held = self._holdout()
            recordings = split_into_recordings(self.train.numbers[held], self.cuts)
            ranges = [(held.start + a, held.start + b) for a, b in recordings]
            sets["holdout"] = self._clips("holdout", self.train, ranges)
        if settings.holdout is None or (self.root / "val").exists():
            T = settings.val_vi_len
            recordings = split_into_recordings(self.val.numbers)
            long = [(s, s + T) for s in fixed_starts(recordings, T).tolist()]
            sets["val"] = self._clips("val", self.val, long or recordings)
        return sets

    def test_clips(self) -> list[Clip]:
        """Return the test sequences in the order of their numbers, with true frames where known.

        True frames are looked for in `--GT`, else in `test/test_gt`: K/N.png for every pose image
        (that of the first frame may be missing). A sequence without its folder is left unscored.
        """
        settings = self.settings
        check_root(self.root)
        test = self.root / "test"
        truth = as_path(settings.GT) if settings.GT else test / "test_gt"
        if settings.GT and not truth.is_dir():
            raise UserError(f"--GT {truth}: no such folder")
        sequences = numbered_folders(test / "test_label")
        for folder in (test / "test_img").iterdir() if (test / "test_img").is_dir() else ():
            if folder.name.isdecimal() and int(folder.name) not in sequences and folder.is_dir():
                raise UserError(
                    f"{folder} has no pose images in {test / 'test_label' / folder.name}: add "
                    "them, or remove the sequence"
                )
        return [
            self._test_clip(number, folder, test / "test_img" / folder.name, truth / folder.name)
            for number, folder in sequences.items()
        ]

    def _test_clip(self, number: int, folder: Path, images: Path, truth: Path) -> Clip:
        """Read the poses in `folder`, the first of `images`, and the frames of `truth`, if any."""
        poses = PictureFiles.in_folder(folder)
        if len(poses) < 2:
            raise UserError(f"{folder}: a sequence needs two pose images at least")
        if not images.is_dir():
            raise UserError(
                f"{folder} has no first frame in {images}: add it, or remove the sequence"
            )
        given = PictureFiles.in_folder(images)
        parts = [given.select(given.numbers[:1])]
        if truth.is_dir():
            known = PictureFiles.in_folder(truth)
            if len(missing := np.setdiff1d(poses.numbers[1:], known.numbers)):
                raise UserError(f"{truth} has no frame {missing[0]}.png to score against")
            parts.append(known.select(poses.numbers[1:]))
        frames = np.concatenate([frames_of(part, self.settings) for part in parts])
        conditions = frames_of(poses, self.settings)[:]
        return Clip(str(number), as_images(frames), as_images(conditions))

    def _clips(self, name: str, split: Split, ranges: list[Recording]) -> list[Clip]:
        """Return the frames from a to b as a clip, for every range (a, b) of two or more."""
        frames, poses = split.decoded(self.settings)
        clips = [
            Clip(f"{name}{k}", as_images(frames[a:b]), as_images(poses[a:b]))
            for k, (a, b) in enumerate(r for r in ranges if r[1] - r[0] >= 2)
        ]
        if not clips:
            raise UserError(f"{split.images.folder}: no two frames of {name} follow each other")
        return clips

    def _holdout(self) -> slice:
        """Return which of the training frames are held out."""
        holdout = self.settings.holdout
        first, last = np.searchsorted(self.train.numbers, holdout).tolist() if holdout else (0, 0)
        return slice(first, last)


def check_holdout(numbers: np.ndarray, holdout: tuple[int, int] | None) -> None:
    """Raise UserError where fewer than two training frames are held out."""
    if holdout is None:
        return
    held = int(np.sum((numbers >= holdout[0]) & (numbers < holdout[1])))
    if held < 2:
        raise UserError(
            f"--holdout {holdout[0]}:{holdout[1]} holds {held} of the training frames, which are "
            f"numbered {numbers[0]} to {numbers[-1]}; it needs two at least"
        )
