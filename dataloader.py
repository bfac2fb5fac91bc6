"""The datasets of both labs, under the names their users import; they are in `data`."""

from data.dance import (
    DanceWindows,
    Dataset_Dance,
    test_clips,
    training_data_digest,
    training_frames,
    validation_clips,
)
from data.robot import Dataset_Robot, RobotWindows, robot_clips, robot_data_digest

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
