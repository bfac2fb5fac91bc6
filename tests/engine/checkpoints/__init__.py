"""Tests of checkpoint files and run folders, whole, old and spoiled."""
