"""Tests of what lies on disk, on its way into batches and clips."""
