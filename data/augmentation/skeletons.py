"""The joints of a data set's pose images, fitted once and kept beside the decoded frames."""

import contextlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from core.files import atomic_write
from data.placement import frames_of
from data.pose.fitting import find_style, fit_joints
from data.pose.refinement import Skeletons
from data.pose.rendering import LineStyle
from data.store.cache import default_cache_dir
from data.store.picture_files import Pictures
from data.store.shards import digest

VERSION = 2  # raise it when the fit changes, so that older files are not taken


class FittedPoses(NamedTuple):
    """The skeletons of pose images, and how their lines look."""

    skeletons: Skeletons
    style: LineStyle


def fitted_poses(poses: Pictures, settings) -> FittedPoses:
    """Return the skeletons of pose images in the frame size of the settings."""
    size = f"{settings.frame_H}x{settings.frame_W}"
    folder = Path(settings.cache_dir) if settings.cache_dir else default_cache_dir()
    file = folder / "joints" / f"{digest(str(VERSION), size, poses.content)}.npz"
    with contextlib.suppress(Exception):  # missing, damaged, or of another version
        return _read(file, len(poses))
    images = torch.from_numpy(np.asarray(frames_of(poses, settings)))
    style = find_style(images)
    fitted = FittedPoses(fit_joints(images, style), style)
    with contextlib.suppress(OSError):  # then it is fitted again next time
        _write(file, fitted)
    return fitted


def _read(file: Path, images: int) -> FittedPoses:
    with np.load(file, allow_pickle=False) as stored:
        values = {name: torch.from_numpy(stored[name]) for name in stored.files}
    skeletons = Skeletons(*(values[name] for name in Skeletons._fields))
    if len(skeletons.places) != images:
        raise ValueError(f"{file}: {len(skeletons.places)} images, not {images}")
    style = LineStyle(float(values["width"]), float(values["blur"]), values["colors"])
    return FittedPoses(skeletons, style)


def _write(file: Path, fitted: FittedPoses) -> None:
    arrays = fitted.skeletons._asdict() | fitted.style._asdict()
    with atomic_write(file) as opened:
        np.savez(opened, **{name: np.asarray(value) for name, value in arrays.items()})
