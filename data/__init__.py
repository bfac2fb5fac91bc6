"""Datasets on disk: what lies where, what may be wrong with it, and windows and clips of it."""
