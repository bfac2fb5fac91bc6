"""Tests of what is done with a model, whichever it is."""
