"""Tests of the networks and of both models."""
