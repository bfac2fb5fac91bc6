"""Tests of whole processes: the scripts as a user runs them, stops them and misuses them."""
