"""The window of a video that is kept: of the shape asked for, about the person."""

from typing import NamedTuple

import numpy as np
from PIL import Image

REACH = (1, 99)  # percentiles of where a person's joints are that a window must hold
MARGIN = 0.06  # of the person's range, around it


class Window(NamedTuple):
    """A part of a picture, in its pixels; where it reaches beyond, the picture is padded black."""

    left: float
    top: float
    width: float
    height: float

    def cut(self, frame: np.ndarray, width: int, height: int) -> Image.Image:
        """Return the window of a frame (H, W, 3) as a picture of width x height."""
        H, W = frame.shape[:2]
        left, top = min(self.left, 0), min(self.top, 0)
        right, bottom = max(self.left + self.width, W), max(self.top + self.height, H)
        image = Image.fromarray(frame)
        if left < 0 or top < 0 or right > W or bottom > H:
            left, top = int(np.floor(left)), int(np.floor(top))
            padded = Image.new("RGB", (int(np.ceil(right)) - left, int(np.ceil(bottom)) - top))
            padded.paste(image, (-left, -top))
            image = padded
        box = np.array([self.left, self.top, self.left + self.width, self.top + self.height])
        box = np.clip(box - [left, top, left, top], 0, [*image.size, *image.size])
        return image.resize((width, height), Image.Resampling.BILINEAR, box=tuple(box))

    def places(self, places: np.ndarray, width: int, height: int) -> np.ndarray:
        """Return where places (…, 2) of the video lie in the picture of width x height."""
        return (places - [self.left, self.top]) * [width / self.width, height / self.height]

    def described(self, W: int, H: int) -> str:
        """Say what was done to a video of W x H."""
        size = f"{self.width:.0f}x{self.height:.0f}"
        padded = self.left < -0.5 or self.top < -0.5
        padded |= self.left + self.width > W + 0.5 or self.top + self.height > H + 0.5
        if padded:
            return f"padded to {size} about the person"
        if self.width < W - 0.5 or self.height < H - 0.5:
            return f"cropped to {size} about the person"
        return "taken whole"


def choose_window(
    places: np.ndarray, W: int, H: int, width: int, height: int, *, close: bool = False
) -> Window:
    """Choose the window of a video of W x H for pictures of width x height.

    places: (T, J, 2) of the person, in the video. The window is the largest in the picture of that
    shape, with `close` the smallest that holds where the person goes; larger than the picture only
    where it would cut the person. Its middle is the middle of where the person goes, moved so that
    as little as possible lies beyond the picture.
    """
    known = places[np.isfinite(places[..., 0])]
    low, high = np.percentile(np.clip(known, 0, [W, H]), REACH, axis=0)
    extent = (high - low) * (1 + 2 * MARGIN)
    needed = max(extent[0], extent[1] * width / height)  # width of a window that holds the person
    largest = min(W, H * width / height)
    whole = max(W, H * width / height)
    wide = min(needed if close else max(needed, largest), whole)
    size = np.array([wide, wide * height / width])
    middle = (low + high) / 2
    corner = middle - size / 2
    room = np.array([W, H]) - size  # negative where the window is larger than the picture
    corner = np.clip(corner, np.minimum(0, room), np.maximum(0, room))
    return Window(*corner.tolist(), *size.tolist())
