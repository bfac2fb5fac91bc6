"""The flags that say how poses are read, of every command that reads them."""

import argparse

from settings.flag_types import count, natural, picture_size, probability


def add_pose_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say how poses are read."""
    add = parser.add_argument_group("poses").add_argument
    add("--person", type=count, metavar="N", help="follow the N-th from the left, not the largest")
    add(
        "--confidence",
        type=probability,
        default=0.2,
        help="leave less sure joints out (default: 0.2)",
    )
    add(
        "--fill",
        type=natural,
        default=5,
        metavar="FRAMES",
        help="longest gap to interpolate (default: 5)",
    )
    add("--keep_sides", action="store_true", help="do not swap back sides that were swapped")
    add(
        "--pose_size",
        type=picture_size,
        metavar="HEIGHTxWIDTH",
        help="of the pictures that the estimator was given, where they were not the video's",
    )
