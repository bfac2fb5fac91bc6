"""Tests of models with their data."""
