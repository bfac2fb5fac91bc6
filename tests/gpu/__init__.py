"""Tests that need a GPU: `python -m pytest -m gpu`."""
