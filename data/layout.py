"""Which data set a folder is, and which folder near it was meant: for messages."""

import contextlib
from pathlib import Path

from core.errors import UserError
from data.store.remote import RemotePath

DANCE, ROBOT = "cvae", "svg"  # the --model that each kind of data is for
JOINTS_FILE = "joints.csv"  # beside the pose images of a split, where their joints are known
ENTRIES = 200  # of a folder that are looked at


def check_root(root: Path | RemotePath, model: str) -> None:
    """Raise UserError where `root` is no data set for the model, naming the one that is at hand.

    A folder that is one, or none at all but with nothing near it, passes: what it lacks is told
    where it is read.
    """
    if not root.is_dir():
        raise UserError(f"--DR {root}: no such folder{_near(root, model)}")
    kind = kind_of(root)
    if kind == model:
        return
    if kind is not None:
        told = {ROBOT: "the robot's", DANCE: "the dance's"}[kind]
        raise UserError(f"--DR {root}: data in {told} layout, which is for --model {kind}")
    if near := _near(root, model):
        raise UserError(f"--DR {root}: no data set{near}")


def kind_of(root: Path | RemotePath) -> str | None:
    """Return the model whose data a folder holds, or None."""
    if any((root / split / f"{split}_label").is_dir() for split in ("train", "val", "test")):
        return DANCE
    for split in ("train", "validate", "test"):
        if (root / split).is_dir() and any(p.name.startswith("traj_") for p in _some(root / split)):
            return ROBOT
    return None


def _near(root: Path | RemotePath, model: str) -> str:
    """Return in words a folder of the right kind above the one given, or inside it."""
    if not isinstance(root, Path):
        return ""
    with contextlib.suppress(OSError):  # of folders that may not be looked into
        inside = folders_in(root)
        for folder in [*list(root.absolute().parents)[:3], *inside]:
            if kind_of(folder) == model:
                return f"; did you mean --DR {folder}?"
    return ""


def folders_in(folder: Path) -> list[Path]:
    """Return the first folders in a folder by their names; [] where it may not be looked into."""
    with contextlib.suppress(OSError):
        return [entry for entry in _some(folder) if entry.is_dir()] if folder.is_dir() else []
    return []


def _some(folder: Path | RemotePath) -> list:
    """Return the first entries of a folder in the order of their names; [] where unreadable."""
    try:
        return sorted(folder.iterdir())[:ENTRIES]
    except (OSError, TypeError):
        return []
