"""Clips as text for the page: differences from frame to frame, deflated, base64.

Exact where there is room. Else every value is off by at most `tolerance` gray levels: differences
are taken from what the reader has got, in steps of 2·tolerance + 1, so that errors never add up
(near-lossless coding, as in JPEG-LS, ISO/IEC 14495-1). `unpack` in page.js is the reader; its
inflater comes with the browser.
"""

import base64
import zlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

TOLERANCES = (0, 1, 2, 3, 5, 8)  # gray levels of 255
LEVEL = 6  # of zlib; 9 takes ten times as long and gains a twentieth
TRIED = 16  # frames of a clip from which is guessed whether there is any hope that all fit


def pack(frames: np.ndarray, tolerance: int = 0) -> str:
    """Return (T, H, W, 3) uint8 as base64 text."""
    steps = np.empty(frames.shape, np.uint8)
    if tolerance == 0:
        steps[0] = frames[0]
        np.subtract(frames[1:], frames[:-1], out=steps[1:])  # wraps, as the reader does
    else:
        step = 2 * tolerance + 1
        seen = np.zeros(frames.shape[1:], np.int16)
        for t, frame in enumerate(frames):
            difference = frame.astype(np.int16) - seen
            count = np.sign(difference) * ((np.abs(difference) + tolerance) // step)
            steps[t] = count.astype(np.int8).view(np.uint8)  # |count| ≤ 85
            seen = np.clip(seen + count * step, 0, 255)
    return base64.b64encode(zlib.compress(steps.tobytes(), LEVEL)).decode()


def can_fit(clips: Iterable[np.ndarray], budget: int) -> bool:
    """Guess from some frames of each clip whether they fit into `budget` at any tolerance."""
    guess = 0.0
    for frames in clips:
        some = frames[len(frames) // 2 :][:TRIED]
        first, all_ = len(pack(some[:1], TOLERANCES[-1])), len(pack(some, TOLERANCES[-1]))
        guess += first + (all_ - first) / max(1, len(some) - 1) * (len(frames) - 1)
    return guess <= budget


def pack_all(clips: Iterable[np.ndarray], budget: int) -> tuple[list[str], int]:
    """Return the clips as texts of at most `budget` characters together, and the tolerance.

    The tolerance is the smallest that fits; the last one is taken where none does.
    """
    clips = list(clips)
    with ThreadPoolExecutor() as pool:  # zlib works outside of Python's lock
        for tolerance in TOLERANCES:
            texts = list(pool.map(partial(pack, tolerance=tolerance), clips))
            if sum(map(len, texts)) <= budget:
                break
    return texts, tolerance
