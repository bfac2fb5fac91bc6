"""Where a video changes its scene: a cut of the film, or a camera that jumps."""

from collections import deque

import numpy as np
from PIL import Image

BLOCKS = (16, 9)  # a frame's thumbnail
CHANGED = 0.09  # of full brightness, mean over a thumbnail: more than anybody's movement changes
SUDDEN = 4.0  # times the median of the changes before
MEMORY = 30  # frames


class SceneChanges:
    """Told one frame after another, says which one begins a new scene. Fades are not noticed."""

    def __init__(self):
        self.last: np.ndarray | None = None
        self.changes: deque[float] = deque(maxlen=MEMORY)

    def begins(self, frame: np.ndarray) -> bool:
        """Tell whether a frame (H, W, 3) uint8 begins another scene than the frame before."""
        thumbnail = Image.fromarray(frame).reduce(
            (max(1, frame.shape[1] // 64), max(1, frame.shape[0] // 36))
        )
        now = np.asarray(thumbnail.resize(BLOCKS, Image.Resampling.BOX), np.float32) / 255
        change = 0.0 if self.last is None else float(np.abs(now - self.last).mean())
        usual = float(np.median(self.changes)) if self.changes else 0.0
        self.last = now
        cut = change > max(CHANGED, SUDDEN * usual)
        self.changes.append(change)
        return cut
