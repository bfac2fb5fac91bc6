"""What a page may start from: first frames, with a choreography or the arm's first commands."""

from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.errors import UserError
from data.dance import DanceData
from data.robot import SPLITS, read_sequences
from data.store.images import read_frame
from player.arm import Reach, reach_of

MOST = 48  # starts that a page offers


@dataclass(frozen=True)
class DanceStart:
    """A first frame (H, W, 3) uint8 with pose images (T, H, W, 3) uint8, or a motion (T, C)."""

    name: str
    frame: np.ndarray
    poses: np.ndarray | None = None
    motion: np.ndarray | None = None


@dataclass(frozen=True)
class RobotStart:
    """Context frames (n_past, H, W, 3) uint8, what led to them, and where the arm then is."""

    name: str
    frames: np.ndarray
    conditions: np.ndarray  # (n_past, K): commands and places, as the data have them
    hand: np.ndarray  # (3,)
    grip: float  # the command that holds it


def dance_starts(settings: Namespace) -> list[DanceStart]:
    """Return every test sequence of `--DR`, and the one to validate on."""
    root = Path(settings.DR)
    if not root.is_dir():
        raise UserError(f"--DR {root}: no such folder")
    data = DanceData(settings)
    clips = data.test_clips() if (root / "test").is_dir() else []
    named = [(f"test {clip.name}", clip) for clip in clips]
    if (root / "val").is_dir():
        named += [(name, clip) for name, some in data.validation_clips().items() for clip in some]
    if not named:
        raise UserError(f"--DR {root}: holds neither test/ nor val/, so nothing to start from")
    return [
        DanceStart(name, _pixels(clip.frames)[0].copy(), poses=_pixels(clip.conditions))
        for name, clip in named[:MOST]
    ]


def robot_starts(settings: Namespace) -> tuple[list[RobotStart], Reach]:
    """Return the beginnings of the test sequences of `--DR`, and how its arm obeys."""
    root, n_past = Path(settings.DR), settings.n_past
    split = next((s for s in reversed(SPLITS) if (root / s).is_dir()), "test")
    sequences = read_sequences(root, split)
    sequences.require(n_past + 1, f"--n_past {n_past} and a step")
    starts, recordings = [], []
    for folder, first, length in list(zip(sequences.folders, sequences.starts, sequences.lengths)):
        conditions = sequences.conditions[first : first + length]
        recordings.append(conditions)
        if len(starts) == MOST:
            continue
        known = sequences.images.paths[first : first + n_past]
        starts.append(
            RobotStart(
                f"{folder.parent.name.removeprefix('traj_')} {folder.name}",
                np.stack([read_frame(path, settings.frame_H, settings.frame_W) for path in known]),
                conditions[:n_past],
                conditions[n_past, 4:],
                float(conditions[n_past, 3]),
            )
        )
    return starts, reach_of(recordings)


def _pixels(images) -> np.ndarray:
    """(T, 3, H, W) uint8 tensor → (T, H, W, 3) array."""
    return images.permute(0, 2, 3, 1).contiguous().numpy()
