"""How much room there is around the person in a picture."""

import numpy as np
import torch
from torch import Tensor

from data.store.shards import Shards

PERSON = 40  # gray levels of difference from the background
TOGETHER = 1 << 23  # pixels that are compared with the background at a time


def person_margins(frames: Tensor | Shards, background: np.ndarray) -> np.ndarray:
    """Return the free pixels left of, above, right of and below the person: (4, N).

    frames (N, H, W, 3) uint8 before the background (H, W, 3) in gray levels. 0 where there is
    nobody.
    """
    parts = torch.arange(len(frames)).split(max(1, TOGETHER // background[..., 0].size))
    found = [_margins(frames[part].cpu().numpy(), background) for part in parts]
    return np.concatenate([np.empty((4, 0), np.int64), *found], axis=1)


def _margins(frames: np.ndarray, background: np.ndarray) -> np.ndarray:
    person = np.abs(frames - background).max(axis=-1) > PERSON
    columns, rows = person.any(axis=1), person.any(axis=2)
    sides = (columns, rows, columns[:, ::-1], rows[:, ::-1])
    return np.stack([side.argmax(axis=1) for side in sides])
