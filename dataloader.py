"""The datasets of both labs, under the names their users import; they are in `data`."""

from collections.abc import Callable

from data.dance import DanceData
from data.dance_windows import DanceWindows
from data.lab_datasets import Dataset_Dance, Dataset_Robot
from data.robot import RobotData, RobotWindows

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


def _of(data: type, method: Callable) -> Callable:
    """Return a method of a data set as a function of the settings, then of its other arguments.

    Each lists the folders that it needs; who asks for several keeps the data set.
    """
    return lambda settings, *given, **named: method(data(settings), *given, **named)


training_data_digest = _of(DanceData, DanceData.digest)
training_frames = _of(DanceData, DanceData.training_frames)
validation_clips = _of(DanceData, DanceData.validation_clips)
test_clips = _of(DanceData, DanceData.test_clips)
robot_data_digest = _of(RobotData, RobotData.digest)
robot_clips = _of(RobotData, RobotData.clips)
