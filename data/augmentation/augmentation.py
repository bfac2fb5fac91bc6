"""Training windows of the dance that were never filmed (`--augment`).

The person is flipped, shifted and sheared before the background (`data/warp.py`). Nobody is
shifted who is cut by the border: the part that is missing would have to come along.
"""

import numpy as np
import torch
from torch import Tensor

from core import distributed
from core.randomness import Stream, numpy_generator
from core.transfer import send
from data.augmentation.margins import person_margins
from data.pose.sides import swap_sides
from data.store.shards import Shards, spread
from data.types import Batch
from data.warp import Warp, median_background

# In pixels of a frame of 32 rows, and of a larger one in proportion.
RIGHT, DOWN = 12, 1  # at most, either way
SHEAR = 2.0  # at most by which head and feet move apart from the middle, either way


class Augmentation:
    """Flips, shifts and shears windows as (seed, epoch, batch) say."""

    def __init__(
        self,
        frames: Tensor | Shards,
        poses: Tensor | Shards,
        training: np.ndarray,
        seed: int,
        flip_prob: float = 0.5,
    ):
        """Estimate the background from the frames (N, H, W, 3) uint8 at the indices `training`."""
        some = torch.from_numpy(spread(training, *frames.shape[1:3]))
        background = median_background(*(x[some].cpu().numpy() for x in (frames, poses)))
        self.background = torch.from_numpy(background / 255).permute(2, 0, 1)
        self.margins = person_margins(frames, background)
        self.seed, self.flip_prob = seed, flip_prob

    def apply(
        self,
        batch: Batch,
        starts: np.ndarray,
        epoch: int,
        number: int,
        margins: np.ndarray | None = None,
    ) -> Batch:
        """Return the batch with its windows warped; `batch.warp` tells how.

        starts: the first frames of the windows of the global batch, which the host knows without
        asking the device. It draws where the windows go; what that means for each pixel is worked
        out on the device. margins (4, N): of frames that look otherwise than they were filmed.
        """
        index = np.arange(batch.frames.shape[1])[:, None] + distributed.local_shard(starts)
        device = batch.frames.device
        if self.background.device != device:
            self.background = send(self.background, device)
        margins = self.margins if margins is None else margins
        margins = margins[:, index].min(axis=1)  # (4, B): of any frame
        moves = (send(torch.from_numpy(x), device) for x in self._sample(margins, epoch, number))
        warp = Warp.of(self.background, *moves)
        flip = warp.flipped[:, None, None, None, None]
        poses = torch.where(flip, swap_sides(batch.conditions), batch.conditions)
        frames, poses = warp.frames(batch.frames), warp.conditions(poses)
        return Batch(frames, poses, batch.index, warp)

    def _sample(self, margins: np.ndarray, epoch: int, number: int) -> tuple[np.ndarray, ...]:
        """Draw a warp for every window of a batch: flipped (B,), down (B,), right (B, H).

        margins (4, B): free pixels left of, above, right of and below the person.
        """
        H, own = self.background.shape[-2], distributed.local_shard
        scale = max(1.0, H / 32)
        most_right, most_down = round(RIGHT * scale), round(DOWN * scale)
        B = distributed.world_size() * margins.shape[1]  # of the global batch
        rng = numpy_generator(self.seed, Stream.AUGMENTATION, epoch, number)
        flipped = own(rng.random(B) < self.flip_prob)
        right = own(rng.integers(-most_right, most_right + 1, (B, 1)))
        down = own(rng.integers(-most_down, most_down + 1, B))
        shear = own(scale * rng.uniform(-SHEAR, SHEAR, (B, 1))) * np.linspace(-1, 1, H)
        left, top, far, bottom = margins
        left, far = np.where(flipped, (far, left), (left, far))[:, :, None]
        right = _within(np.rint(right + shear).astype(np.int64), left, far)
        down = _within(down, top, bottom)
        return flipped, down, right


def _within(shift: np.ndarray, back: np.ndarray, ahead: np.ndarray) -> np.ndarray:
    """Keep a shift within the space on both sides; none where a side has no space at all."""
    return np.where((back == 0) | (ahead == 0), 0, np.clip(shift, -back, ahead))
