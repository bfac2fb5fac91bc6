"""Tests of steps, schedules, optimizers and what keeps a run healthy."""
