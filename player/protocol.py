"""What page and server say to each other, and what a message may hold.

The page sends small JSON texts, each with a word `do`. The server sends JSON texts with a word
`is`, and pictures and files as bytes. A message that is not as it should be raises Refused, which
closes the session that sent it.
"""

import json
import math
import struct
import time
from collections.abc import Callable
from typing import Any

from player.body import HANDLES, MOVES
from player.recording import KINDS
from player.worlds import Shown

LARGEST_MESSAGE = 1024  # bytes
PER_SECOND, AT_ONCE = 240, 480  # messages of a session
FASTEST = 1000  # frames/s: as fast as the model goes
FRAME = struct.Struct("<BBHHHIIIfI")  # the beginning of a frame; see `pack_frame`
FILE = struct.Struct("<BBH")


class Refused(Exception):
    """A message that no page of ours sends; says why."""


def _number(low: float, high: float) -> Callable[[Any], bool]:
    def is_right(value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return math.isfinite(value) and low <= value <= high

    return is_right


def _count(high: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and 0 <= value <= high


def _one_of(words: Any) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and value in words


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


_PLACE = {"x": _number(-1, 2), "y": _number(-1, 2)}  # in shares of the picture
_INPUT = {"n": _count(2**32 - 1)}  # numbered, so that the page knows which frame shows it
_BOTH: dict[str, dict[str, Callable[[Any], bool]]] = {
    "play": {"on": _flag},
    "step": {},
    "start": {"start": _count(10_000)},
    "latent": {"z": _one_of(("mean", "sample")), "temperature": _number(0, 4)},
    "redraw": {},
    "pace": {"fps": _number(1, FASTEST)},
    "record": {"on": _flag},
    "save": {"kind": _one_of(KINDS)},
    "shown": {"frame": _count(2**32 - 1)},
}
SCHEMAS: dict[str, dict[str, dict[str, Callable[[Any], bool]]]] = {
    "dance": _BOTH
    | {
        "drag": {"joint": _one_of(HANDLES), **_PLACE, **_INPUT},
        "drop": {},
        "come": {"by": _number(-1, 1), **_INPUT},
        "move": {"name": _one_of(MOVES), **_INPUT},
        "take": {},
    },
    "robot": _BOTH
    | {
        "keep": {},
        "aim": _PLACE | _INPUT,
        "lower": {"on": _flag} | _INPUT,
        "grip": {"open": _flag} | _INPUT,
    },
}


def parse(text: str, kind: str) -> dict[str, Any]:
    """Return a message of the page to a model of this kind. Raises Refused for any other."""
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        raise Refused("a message that is not JSON") from None
    word = message.get("do") if isinstance(message, dict) else None
    fields = SCHEMAS[kind].get(word) if isinstance(word, str) else None
    if fields is None:
        raise Refused("a message of an unknown kind")
    if message.keys() - {"do"} != fields.keys():
        raise Refused(f"{word}: fields missing or unknown")
    for name, is_right in fields.items():
        if not is_right(message[name]):
            raise Refused(f"{word}: {name} is not what it should be")
    return message


class Allowance:
    """How many messages a session may still send: so many a second, some more at once."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock, self._left, self._when = clock, float(AT_ONCE), clock()

    def take(self) -> None:
        """Count a message. Raises Refused where there were too many."""
        now = self._clock()
        self._left = min(AT_ONCE, self._left + PER_SECOND * (now - self._when))
        self._when = now
        if self._left < 1:
            raise Refused(f"more than {PER_SECOND} messages a second")
        self._left -= 1


def pack_frame(shown: Shown, milliseconds: float, dropped: int) -> bytes:
    """Pack a moment: a header, the overlay as float32, and the pictures as raw RGB.

    Header: kind 1, flags (1: predicted, 2: resting), pictures, height, width, frame number,
    latest input that shows, overlay numbers, milliseconds of the model, frames dropped so far.
    """
    P, H, W, _ = shown.pictures.shape
    flags = shown.predicted | shown.resting << 1
    numbers = (shown.number, shown.applied, len(shown.overlay))
    header = FRAME.pack(1, flags, P, H, W, *numbers, milliseconds, dropped)
    return header + shown.overlay.tobytes() + shown.pictures.tobytes()


def pack_file(kind: str, content: bytes) -> bytes:
    """Pack a file of a recording: kind 2, which of KINDS, and its bytes."""
    return FILE.pack(2, list(KINDS).index(kind), 0) + content
