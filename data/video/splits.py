"""Which frames train, validate and test: whole stretches, the last ones held out."""

from collections.abc import Sequence
from itertools import chain, groupby
from typing import NamedTuple

from core.errors import UserError

SHORTEST = 16  # frames of a stretch that is worth a sequence, or a training window


class Splits(NamedTuple):
    """Places of frames in the material, by split."""

    train: list[int]
    val: list[int]
    test: list[list[int]]  # stretches
    dropped: int  # frames of stretches too short for a split that is held out


def split_stretches(stretches: Sequence[Sequence[int]], val: int, test: int) -> Splits:
    """Hold out the last `test` frames and the `val` ones before them.

    stretches: frames that follow each other without a cut, in order. What is left of a stretch
    where a split ends is used where it has SHORTEST frames. Raises UserError where less than half
    is left to train on, or nothing of what is held out is so long.
    """
    frames = [(number, index) for index, stretch in enumerate(stretches) for number in stretch]
    trained = len(frames) - val - test
    if trained < max(SHORTEST, len(frames) / 2):
        raise UserError(
            f"--val, --test: of {len(frames)} frames with the person {val + test} would be held "
            f"out and {max(trained, 0)} left to train on; hold out less, or give more video"
        )
    parts = [
        [[number for number, _ in group] for _, group in groupby(part, key=lambda frame: frame[1])]
        for part in (frames[:trained], frames[trained : trained + val], frames[trained + val :])
    ]
    kept = [[s for s in part if len(s) >= SHORTEST] for part in parts]
    if not kept[0]:
        raise UserError(
            f"no {SHORTEST} frames with the person follow each other; raise --fill, lower "
            "--confidence, or look at what the estimator drew"
        )
    for flag, asked, stretches in (("--val", val, kept[1]), ("--test", test, kept[2])):
        if asked and not stretches:
            raise UserError(
                f"{flag}: no {SHORTEST} of the {asked} frames to hold out follow each other; "
                "hold out more, or nothing (0)"
            )
    dropped = sum(len(s) for part in parts[1:] for s in part if len(s) < SHORTEST)
    train, val = (list(chain.from_iterable(part)) for part in (parts[0], kept[1]))
    return Splits(train, val, kept[2], dropped)
