"""The values that flags take: how they are read, and their ranges."""

import argparse
from collections.abc import Callable


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


def picture_size(text: str) -> tuple[int, int]:
    """Parse `HxW`, height and width of pictures in pixels."""
    try:
        height, width = (frame_side(side) for side in text.split("x"))
    except (ValueError, argparse.ArgumentTypeError):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not of the form HxW, such as 128x256, with sides of 11 to 4096 pixels"
        ) from None
    return height, width


def frame_range(text: str) -> tuple[int, int]:
    """Parse `A:B`, frame numbers from A up to but not including B."""
    try:
        start, stop = (int(part) for part in text.split(":"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form A:B (frame numbers)")
    if not 0 <= start < stop <= 10**9:
        raise argparse.ArgumentTypeError(f"{text!r} must have 0 <= A < B, of nine digits at most")
    return start, stop


def path_text(text: str) -> str:
    """Parse the path of a file or folder: an empty one, of a shell variable not set, is none."""
    if not text:
        raise argparse.ArgumentTypeError("an empty path; is a variable of the shell not set?")
    return text


def kl_anneal_type(text: str) -> str:
    """Parse the annealing type; `Without` is another spelling of `None`."""
    names = {n.lower(): n for n in ("Cyclical", "Monotonic", "None")} | {"without": "None"}
    if text.lower() not in names:
        raise argparse.ArgumentTypeError(f"{text!r} is not Cyclical, Monotonic or None")
    return names[text.lower()]


def kl_anneal_ratio(text: str) -> float:
    """Parse the part of a cycle that climbs; a number above 1 is how often it fits into one."""
    ratio = positive(text)
    return 1 / ratio if ratio > 1 else ratio


OPTIMIZERS = ["Adam", "AdamW", "RMSprop", "Muon"]


def optimizer_name(text: str) -> str:
    """Parse an optimizer in any case (the robot lab writes `adam`)."""
    return {name.lower(): name for name in OPTIMIZERS}.get(text.lower(), text)


def renamed(**old_names: str) -> Callable[[str], str]:
    """Make an argparse type for a word that once had another name: `renamed(old="new")`."""
    return lambda text: old_names.get(text, text)
