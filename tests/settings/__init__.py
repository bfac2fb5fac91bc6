"""Tests of flags, presets, and what makes a run what it is."""
