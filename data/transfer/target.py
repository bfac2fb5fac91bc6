"""The dancer that a dance is transferred to: their joints, and the pictures they were found in."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from PIL import Image

from core.errors import UserError, why
from core.files import parse_json
from data import layout
from data.estimates import table
from data.pose.picture import draw_places
from data.pose.skeleton import JOINT, SIDES
from data.store.images import numbered_images, open_image, read_frame

FITTED_HEIGHT = 32  # pixels: of pose images that joints are fitted to
MOST_FITTED = 500  # pose images, spread over all
FACING = 4.0  # how much more than the place of joints it counts which way the body faces
# Ends of what is seen otherwise from the front, a side and the back: from, to.
ACROSS = np.array(
    [
        *((JOINT[f"{joint}_right"], JOINT[f"{joint}_left"]) for joint in ("shoulder", "hip")),
        *((JOINT[f"heel_{side}"], JOINT[f"toe_{side}"]) for side in SIDES),
        (JOINT["neck"], JOINT["nose"]),
    ]
).T
POOR = 0.08  # residual from which on a fit is not believed


@dataclass(frozen=True)
class Target:
    """Training frames of a data set, their joints, and how its pose images are drawn."""

    root: Path
    numbers: np.ndarray  # (frames,) of the pictures
    places: np.ndarray  # (frames, J, 2) in pixels of pose images of width x height
    width: int
    height: int
    draw: Callable[[np.ndarray], Image.Image]  # joints (J, 2) → their pose image

    @cached_property
    def pictures(self) -> dict[int, Path]:
        return numbered_images(self.root / "train" / "train_img")

    def nearest(self, pose: np.ndarray) -> int:
        """Return the number of the frame whose joints are nearest to those of a pose (J, 2).

        So much counts besides which way the body faces, that somebody seen from the front is
        rather taken from the front elsewhere than from the side in the same place.
        """
        away = np.linalg.norm(self.places - pose, axis=-1)
        start, end = ACROSS
        turned = np.linalg.norm(
            (self.places[:, end] - self.places[:, start]) - (pose[end] - pose[start]), axis=-1
        )
        enough = np.isfinite(away).sum(1) >= 0.7 * np.isfinite(pose[:, 0]).sum()
        far = _known_mean(away) + FACING * _known_mean(turned)
        return int(self.numbers[np.argmin(np.where(enough, far, np.inf))])


def _known_mean(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis of what is known; 0 where nothing is."""
    known = np.isfinite(values)
    return np.where(known, values, 0).sum(-1) / np.maximum(known.sum(-1), 1)


def open_target(path: Path) -> Target:
    """Read the joints of a data set, or of that of a run; without a table of them, fit them to
    its pose images. Raises UserError for what is neither."""
    root = _data_of(path)
    if layout.kind_of(root) != layout.DANCE:
        raise UserError(
            f"--to {path}: neither a dance data set nor a run that was trained on one{_near(path)}"
        )
    labels = numbered_images(root / "train" / "train_label")
    file = root / "train" / layout.JOINTS_FILE
    return _from_table(root, file, labels) if file.is_file() else _fitted(root, labels)


def _near(path: Path) -> str:
    """Return in words which runs and data sets are in a folder, or else beside it."""
    for folder in (path, path.absolute().parent):
        inside = layout.folders_in(folder)
        runs = [one.name for one in inside if (one / "settings.json").is_file()]
        sets = [one.name for one in inside if (one / "train" / "train_label").is_dir()]
        found = [("runs", runs), ("data sets", sets)]
        said = [f"{what} in {folder}: {', '.join(names)}" for what, names in found if names]
        if said:
            return f"; {'; '.join(said)}"
    return ""


def _from_table(root: Path, file: Path, labels: dict[int, Path]) -> Target:
    try:
        found = table.read(file)
    except (OSError, ValueError) as error:
        said = why(error) if isinstance(error, OSError) else error
        raise UserError(f"{file}: {said}; import the data set anew") from None
    people = {n: some[0].places for n, some in (found.frames if found else {}).items() if some}
    numbers = sorted(people.keys() & labels.keys())
    if not numbers:
        raise UserError(f"{file}: no frame of {root / 'train'} is in it; import the set anew")
    width, height = open_image(labels[numbers[0]]).size
    draw = partial(draw_places, width=width, height=height)
    places = np.stack([people[number] for number in numbers])
    return Target(root, np.array(numbers), places, width, height, draw)


def _fitted(root: Path, labels: dict[int, Path]) -> Target:
    """Fit joints to some pose images; what is drawn has the style of their lines."""
    import torch  # which takes seconds, and only this needs

    from data.pose.fitting import find_style, fit_joints
    from data.pose.rendering import ENDS, joints_shown, render

    numbers = np.array(list(labels))
    numbers = numbers[np.linspace(0, len(numbers) - 1, min(len(numbers), MOST_FITTED)).astype(int)]
    W, H = open_image(labels[int(numbers[0])]).size
    height, width = FITTED_HEIGHT, round(FITTED_HEIGHT * W / H)
    images = np.stack([read_frame(labels[int(number)], height, width) for number in numbers])
    style = find_style(images)
    fitted = fit_joints(images, style)
    seen = joints_shown(fitted.shown) & (fitted.residual < POOR)[:, None]
    places = np.where(seen[..., None], fitted.places, np.nan)

    def draw(joints: np.ndarray) -> Image.Image:
        known = torch.from_numpy(np.isfinite(joints).all(axis=-1))
        inside = known & torch.from_numpy(((joints >= 0) & (joints < (width, height))).all(axis=-1))
        shown = known[ENDS].all(dim=1) & inside[ENDS].any(dim=1)
        at = torch.from_numpy(np.nan_to_num(joints)).float()[None]
        image = render(at, shown[None], height, width, style)[0]
        return Image.fromarray((255 * image).round().byte().permute(1, 2, 0).numpy())

    return Target(root, numbers, places, width, height, draw)


def _data_of(path: Path) -> Path:
    """Return the folder itself, or that of the data that a run was trained on."""
    settings = path / "settings.json"
    if not settings.is_file():
        if not path.is_dir():
            raise UserError(f"--to {path}: no such folder; give a run or a data set{_near(path)}")
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
