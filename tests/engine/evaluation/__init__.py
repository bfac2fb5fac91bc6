"""Tests of rollouts, samples and scores."""
