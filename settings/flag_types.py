"""Numbers that flags take, with their ranges."""

import argparse


def number(kind: type, low: float, high: float = float("inf"), *, open_low: bool = False):
    """Make an argparse type for a number in [low, high], or (low, high] with `open_low`."""

    def parse(text: str):
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number of type {kind.__name__}")
        if not (low < value if open_low else low <= value) or not value <= high:
            left = "more than" if open_low else "at least"
            right = "" if high == float("inf") else f" and at most {high:g}"
            raise argparse.ArgumentTypeError(f"{text} must be {left} {low:g}{right}")
        return value

    return parse


count = number(int, 1, 10**9)
natural = number(int, 0, 2**63 - 1)
fraction = number(float, 0, 1, open_low=True)
probability = number(float, 0, 1)
non_negative = number(float, 0, 1e30)
positive = number(float, 0, 1e30, open_low=True)
frame_side = number(int, 11, 4096)  # pixels
frame_count = number(int, 2, 10**9)
thread_count = number(int, 0, 256)
