"""The tests: in the rooms of what they test; what they share is in support/ and conftest.py."""
