"""Poses and the video that they are of: the same pixels, the same frames."""

from pathlib import Path

import numpy as np

from core.errors import UserError
from data.estimates.keypoints import Estimates

LONGEST = 10**7  # frames of a video: a day and more
OUTSIDE = 0.2  # of the joints beyond the picture, from which on poses are of another picture
BEYOND = 0.15  # of the picture's size, where joints that are guessed may lie
ODD_FRAMES = 2  # at the end, by which programs that decode a video differ


def in_picture(
    estimates: Estimates, width: int, height: int, path: Path, size: tuple[int, int] | None
) -> Estimates:
    """Return poses in pixels of a picture of width x height.

    size: height and width of the pictures that the estimator was given, where they were others.
    Raises UserError where the joints lie outside the picture.
    """
    if estimates.in_shares:
        return estimates.scaled(width, height)
    if size:
        estimates = estimates.scaled(width / size[1], height / size[0])
    places = [p.places[p.found] for people in estimates.frames.values() for p in people]
    share = np.concatenate(places) / [width, height]
    if (np.abs(share - 0.5) > 0.5 + BEYOND).any(axis=1).mean() > OUTSIDE:
        reach = " and ".join(
            f"{value:.0f}" for value in np.percentile(np.concatenate(places), 99, 0)
        )
        raise UserError(
            f"--poses {path}: joints reach to {reach} in pictures of {width}x{height} (width x "
            "height); they are of other pictures: name their size with --pose_size HEIGHTxWIDTH, "
            "or, where they were turned otherwise, estimate the poses on upright ones"
        )
    return estimates


def counted_from_0(estimates: Estimates, announced: int, path: Path) -> Estimates:
    """Return frames numbered from 0, where the format leaves open whether it begins there.

    announced: how many frames the video says it has, 0 where it does not say. Raises UserError
    for numbers that no video has.
    """
    numbers = estimates.frames
    last = max(numbers)
    if min(numbers) < 0 or last > LONGEST:
        raise UserError(
            f"--poses {path}: frames are numbered {min(numbers)} to {last}; number them from 0"
        )
    from_1 = 0 not in numbers and (last == announced if announced else min(numbers) == 1)
    if estimates.length is not None or not from_1:
        return estimates
    return Estimates(estimates.format, {n - 1: people for n, people in numbers.items()})


def check_length(
    estimates: Estimates, decoded: int, path: Path, video: Path, allowed: int = 0
) -> None:
    """Raise UserError where poses and video do not have the same frames.

    A video may have some more frames than a format knows of that is silent about frames without
    people; and programs differ by a frame or two at the end. `allowed` more may be lacking on
    either side.
    """
    allowed += ODD_FRAMES
    known = estimates.known_length
    short = decoded - known if estimates.length else 0
    if known > decoded + allowed or short > allowed:
        raise UserError(
            f"--poses {path}: poses of {known} frames for the {decoded} of {video.name}; estimate "
            "them on this very file, every frame of it (a video of variable rate changes its count "
            "when it is turned into pictures: ffmpeg -i IN -r 30 OUT.mp4 first)"
        )
