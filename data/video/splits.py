"""Which frames train, validate and test: whole stretches, the last ones held out."""

import math
from collections.abc import Sequence
from contextlib import suppress
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


def split_stretches(
    stretches: Sequence[Sequence[int]], val: float, test: float, rate: float
) -> Splits:
    """Hold out the last `test` seconds and the `val` ones before them.

    stretches: frames that follow each other without a cut, in order, `rate` a second. What is left
    of a stretch where a split ends is used where it has SHORTEST frames. Raises UserError, saying
    what would fit, where less than half is left to train on, or nothing of what is held out is so
    long.
    """
    try:
        return _split(stretches, round(val * rate), round(test * rate))
    except _Lacking as error:
        raise UserError(f"{error}; {_advice(stretches, val, test, rate)}") from None


class _Lacking(Exception):
    """Of these stretches so much cannot be held out."""


def _advice(stretches: Sequence[Sequence[int]], val: float, test: float, rate: float) -> str:
    """Return in words what of these frames can be held out, or how many would do for what was
    asked. Training validates, so something is left to validate on."""
    frames = sum(map(len, stretches))
    enough = 2 * max(round(val * rate) + round(test * rate), 2 * SHORTEST)
    more = f"give more video: {enough} frames, {enough / rate:.0f} s, would do"
    if frames >= enough:
        more = "hold out more, or nothing (0)"
    shortest = math.ceil(10 * SHORTEST / rate) / 10  # in tenths of seconds
    for share in (0.3, 0.48):
        held = share * frames / rate
        v = max(shortest, math.floor(10 * held / 3) / 10)
        for t in (max(shortest, math.floor(10 * (held - v)) / 10), 0):
            with suppress(_Lacking, UserError):
                _split(stretches, round(v * rate), round(t * rate))
                return f"--val {v:g} --test {t:g} (seconds) would fit, or {more}"
    return more


def _split(stretches: Sequence[Sequence[int]], val: int, test: int) -> Splits:
    """Hold frames out. Raises _Lacking, or UserError where not one stretch is to train on."""
    frames = [(number, index) for index, stretch in enumerate(stretches) for number in stretch]
    trained = len(frames) - val - test
    if trained < max(SHORTEST, len(frames) / 2):
        raise _Lacking(
            f"--val, --test: of {len(frames)} frames with the person {val + test} would be held "
            f"out and {max(trained, 0)} left to train on"
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
            raise _Lacking(
                f"{flag}: no {SHORTEST} of the {asked} frames to hold out follow each other"
            )
    dropped = sum(len(s) for part in parts[1:] for s in part if len(s) < SHORTEST)
    train, val = (list(chain.from_iterable(part)) for part in (parts[0], kept[1]))
    return Splits(train, val, kept[2], dropped)
