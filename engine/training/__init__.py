"""Training a task: the trainer, its loop and its steps, optimizers, schedules, prediction buffer.

No data set, no model and no picture is made here.
"""
