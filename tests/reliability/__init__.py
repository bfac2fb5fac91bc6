"""Tests of what must survive: kills, faults, lost readers and full disks."""
