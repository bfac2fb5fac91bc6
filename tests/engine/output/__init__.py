"""Tests of pictures, videos and logs."""
