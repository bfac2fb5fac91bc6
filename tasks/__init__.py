"""Models with their data: what the scripts train, validate and test, all by one contract.

A task of its own is a file here and a line in `TASKS`. Loops and outputs belong into `engine`.
"""

from core.errors import UserError
from engine.checkpoints.checkpoint import Checkpoint
from settings.resolve import Settings
from tasks.base import Task
from tasks.dance import DanceTask
from tasks.robot import RobotTask

TASKS: dict[str, type[Task]] = {task.name: task for task in (DanceTask, RobotTask)}

__all__ = ["TASKS", "Task", "make_task", "task_of"]


def make_task(settings: Settings) -> Task:
    """Return the task of `--model`, with a new model."""
    return TASKS[settings.model](settings)


def task_of(checkpoint: Checkpoint) -> type[Task]:
    """Return the task whose model a checkpoint holds. Raises UserError where it is unknown."""
    if checkpoint.model not in TASKS:
        raise UserError(f"{checkpoint.path}: holds a model {checkpoint.model!r}, unknown here")
    return TASKS[checkpoint.model]
