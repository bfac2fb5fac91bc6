"""Checkpoint files and the folders they lie in: read once and checked, written whole or not at all.

What a run does with its state is the business of `engine.training`.
"""
