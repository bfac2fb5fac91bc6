"""The datasets of both labs, under the names their users import; they are in `data`."""

from argparse import Namespace

import numpy as np

from data.dance import DanceData, DanceWindows
from data.lab_datasets import Dataset_Dance, Dataset_Robot
from data.robot import RobotData, RobotWindows
from data.types import Clip

__all__ = [
    "DanceWindows",
    "Dataset_Dance",
    "Dataset_Robot",
    "RobotWindows",
    "robot_clips",
    "robot_data_digest",
    "test_clips",
    "training_data_digest",
    "training_frames",
    "validation_clips",
]

# Each of these lists the folders it needs; who asks for several keeps a `DanceData` or `RobotData`.


def training_data_digest(settings: Namespace) -> str:
    """See `DanceData.digest`."""
    return DanceData(settings).digest()


def training_frames(settings: Namespace) -> tuple[np.ndarray, np.ndarray] | None:
    """See `DanceData.training_frames`."""
    return DanceData(settings).training_frames()


def validation_clips(settings: Namespace) -> dict[str, list[Clip]]:
    """See `DanceData.validation_clips`."""
    return DanceData(settings).validation_clips()


def test_clips(settings: Namespace) -> list[Clip]:
    """See `DanceData.test_clips`."""
    return DanceData(settings).test_clips()


def robot_data_digest(settings: Namespace) -> str:
    """See `RobotData.digest`."""
    return RobotData(settings).digest()


def robot_clips(settings: Namespace, split: str, first: int | None = None) -> list[Clip]:
    """See `RobotData.clips`."""
    return RobotData(settings).clips(split, first)
