"""The dancer that a dance is transferred to: their joints, and the pictures they were found in."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.errors import UserError, why
from core.files import parse_json
from data import layout
from data.estimates import table
from data.store.images import numbered_images, open_image


@dataclass(frozen=True)
class Target:
    """The training frames of a data set."""

    root: Path
    numbers: np.ndarray  # (frames,) of the pictures
    places: np.ndarray  # (frames, J, 2) in their pixels
    width: int
    height: int

    def frame(self, number: int) -> Path:
        return numbered_images(self.root / "train" / "train_img")[number]

    def nearest(self, pose: np.ndarray) -> int:
        """Return the number of the frame whose joints are nearest to those of a pose (J, 2)."""
        away = np.linalg.norm(self.places - pose, axis=-1)
        known = np.isfinite(away)
        mean = np.where(known, away, 0).sum(1) / np.maximum(known.sum(1), 1)
        enough = known.sum(1) >= 0.7 * np.isfinite(pose[:, 0]).sum()
        return int(self.numbers[np.argmin(np.where(enough, mean, np.inf))])


def open_target(path: Path) -> Target:
    """Read the joints of a data set, or of that of a run. Raises UserError where there are none."""
    root = _data_of(path)
    if layout.kind_of(root) != layout.DANCE:
        raise UserError(f"--to {path}: neither a dance data set nor a run that was trained on one")
    file = root / "train" / layout.JOINTS_FILE
    if not file.is_file():
        raise UserError(
            f"--to {path}: {file} is not there; python -m data.video writes it with the data set"
        )
    try:
        found = table.read(file)
    except (OSError, ValueError) as error:
        said = why(error) if isinstance(error, OSError) else error
        raise UserError(f"{file}: {said}; import the data set anew") from None
    people = {number: some[0].places for number, some in found.frames.items() if some}
    pictures = numbered_images(root / "train" / "train_img")
    numbers = sorted(people.keys() & pictures.keys())
    if not numbers:
        raise UserError(f"{file}: no frame of {root / 'train' / 'train_img'} is in it")
    size = open_image(pictures[numbers[0]]).size
    return Target(root, np.array(numbers), np.stack([people[n] for n in numbers]), *size)


def _data_of(path: Path) -> Path:
    """Return the folder itself, or that of the data that a run was trained on."""
    settings = path / "settings.json"
    if not settings.is_file():
        if not path.is_dir():
            raise UserError(f"--to {path}: no such folder; give a run or a data set")
        return path
    try:
        root = Path(parse_json(settings.read_bytes())["DR"])
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{settings}: does not say what the run was trained on") from None
    if not root.is_dir():
        raise UserError(
            f"--to {path}: it was trained on {root}, which is not there; give the data set itself"
        )
    return root
