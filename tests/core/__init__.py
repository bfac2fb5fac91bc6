"""Tests of what every room stands on: devices, randomness, files."""
