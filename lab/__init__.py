"""The classes of the lab, as its scripts import them from Trainer and Tester."""
