"""Models with their data: what the scripts train, validate and test, all by one contract.

A new one is a file here and a line below. Loops and outputs belong into `engine`.
"""

from core.errors import UserError
from engine.checkpoints.checkpoint import Checkpoint
from settings import models
from settings.models import ModelSpec
from settings.resolve import Settings
from tasks.base import Task
from tasks.dance import DanceTask
from tasks.robot import RobotTask

TASKS: dict[str, type[Task]] = {task.name: task for task in (DanceTask, RobotTask)}

__all__ = ["TASKS", "Task", "make_task", "register", "task_of"]


def register(task: type[Task], spec: ModelSpec) -> None:
    """Let the scripts know a task from elsewhere, and the settings of its model."""
    models.register(spec)
    TASKS[task.name] = task


def make_task(settings: Settings) -> Task:
    """Return the task of `--model`, with a new model."""
    return TASKS[settings.model](settings)


def task_of(checkpoint: Checkpoint) -> type[Task]:
    """Return the task whose model a checkpoint holds. Raises UserError where it is unknown."""
    if checkpoint.model not in TASKS:
        raise UserError(f"{checkpoint.path}: holds a model {checkpoint.model!r}, unknown here")
    return TASKS[checkpoint.model]
