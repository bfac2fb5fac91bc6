"""Training frames as if filmed otherwise: people nearer, farther or with limbs turned, lost limbs.

Stretches of the recordings are changed, for `EPOCHS` epochs the same ones. So predictions of their
frames follow each other, and what the model makes of them in a rollout it meets in training: of
frames changed for one step alone it would see the true one before, and learn to copy from that one
what the pose lacks. The last part of training sees the frames as they were filmed. How they look is
told by a version: 0 as filmed, others by (seed, version) alone. Dimensions: N training frames, n of
them changed, T frames and B windows of a batch, J joints, L limbs, H×W picture.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from core.randomness import Stream, numpy_generator
from core.transfer import send
from data.augmentation.limb_dropout import PATTERNS, UPPER_LOST, erase
from data.augmentation.margins import person_margins
from data.augmentation.skeletons import FittedPoses
from data.augmentation.skinning import CHAINS, Turn
from data.augmentation.stretches import Stretch, draw_stretches
from data.augmentation.zoom import Zoom
from data.pose.colors import ALL_LIMBS
from data.pose.rendering import ends_inside, limb_centers, render
from data.pose.skeleton import JOINT
from data.store.shards import Shards
from data.types import Batch, to_float
from data.windows import Recording

EPOCHS = 12  # for which the same frames are changed
UNTIL = 0.8  # of training, in which frames are changed
MOST_BYTES = 256 * 2**20  # of changed frames and poses; of a larger set a smaller part is changed
SCALES = (0.6, 2.5)  # of a person
GROWTH = 0.012  # of the log of the scale in a frame, on average, from the first to the last
HEIGHT_JITTER = 0.06  # of the picture's height, by which the point that stays varies
SMOOTHED = 9  # frames over which the place of a person is averaged
ANGLES = (35.0, 50.0)  # degrees at most, of an upper and of a lower bone
DOUBTFUL = 0.12  # residual from which a fit is not trusted
LOST_WITHOUT_HEAD = 0.3  # chance that who is cut at the neck loses limbs in the picture as well
NECK = JOINT["neck"]

LIMBS_TO_TURN = [
    limb
    for limb, (_, end, _) in enumerate(ALL_LIMBS)
    if end.startswith(("mid_hip", "shoulder", "elbow", "wrist", "hip", "knee", "ankle"))
]


class ByChange(NamedTuple):
    """A value for each way in which frames are changed."""

    zoom: Any
    limb_rotation: Any
    limb_dropout: Any


class Pictures(NamedTuple):
    """What is changed: (N, H, W, 3) uint8 each, and the background (3, H, W).

    larger: the frames in a multiple of their size, where there are any, and their background.
    """

    frames: Tensor | Shards
    poses: Tensor | Shards
    background: Tensor
    larger: Tensor | Shards | None = None
    larger_background: Tensor | None = None


@dataclass(frozen=True)
class Reposed:
    """The frames `rows` (n,), rising, as they look for some epochs: (n, H, W, 3) uint8."""

    rows: np.ndarray
    frames: Tensor
    poses: Tensor
    at: Tensor  # (N,) where a training frame is among them, -1: it is as filmed
    margins: np.ndarray  # (4, N): free pixels around the person, in all training frames

    def put_into(self, batch: Batch) -> Batch:
        """Return the batch with these frames and poses in the place of those that were filmed."""
        if len(self.rows) == 0:
            return batch
        at = self.at[send(batch.index, self.at.device)].T  # (B, T)
        changed = (at >= 0)[:, :, None, None, None]
        at = at.clamp(min=0)
        frames, poses = (
            torch.where(changed, to_float(mine[at]).permute(0, 1, 4, 2, 3), theirs)
            for mine, theirs in ((self.frames, batch.frames), (self.poses, batch.conditions))
        )
        return batch._replace(frames=frames, conditions=poses)


class Reposing:
    """Changes stretches of the training frames as (seed, version) say."""

    def __init__(
        self,
        rates: ByChange,
        seed: int,
        recordings: list[Recording],
        fitted: FittedPoses,
        margins: np.ndarray,
    ):
        """rates: the parts of the training frames that are changed. margins (4, N): free pixels
        around the person. Who touches the border is not scaled: the part that is missing would
        have to come along."""
        self.rates, self.seed, self.recordings, self.margins = rates, seed, recordings, margins
        self.skeletons, self.style = fitted
        shown = self.skeletons.shown.numpy()
        trusted = (self.skeletons.residual < DOUBTFUL).numpy() & shown.any(1)
        whole = shown[:, LIMBS_TO_TURN].all(1)
        self.can_be = ByChange(trusted & (margins > 0).all(0), trusted & whole, trusted)
        self._latest: tuple[int, Reposed] | None = None

    @staticmethod
    def version_in(epoch: int, progress: float) -> int:
        """Return the version of the frames in an epoch that begins at `progress` of training."""
        return 1 + epoch // EPOCHS if progress < UNTIL else 0

    def stretches(self, version: int, frame_bytes: int) -> ByChange:
        """Draw the stretches of a version, a list for each change; no frame is in two of them.

        frame_bytes: the size of a frame.
        """
        if version == 0:
            return ByChange([], [], [])
        total = sum(end - first for first, end in self.recordings)
        most = min(1.0, MOST_BYTES / (2 * frame_bytes * total * sum(self.rates)))
        shares = [rate * most for rate in self.rates]
        rng = numpy_generator(self.seed, Stream.BODY, version, 0)
        return ByChange(*draw_stretches(self.recordings, self.can_be, shares, rng))

    def changed_frames(
        self, version: int, before: int, pictures: Pictures
    ) -> tuple[Tensor, Tensor]:
        """Return which frames look otherwise than in the version `before`, and how.

        (n,) and (n, H, W, 3) uint8, where the frames lie.
        """
        now, frames = self.reposed(version, pictures), pictures.frames
        kinds = self.stretches(before, frames[:1].nbytes)
        earlier = [stretch.rows for stretches in kinds for stretch in stretches]
        rows = torch.from_numpy(np.unique(np.concatenate([now.rows, *earlier])))
        rows = rows.to(frames.device)
        look, at = frames[rows], now.at.to(rows.device)[rows]
        look[at >= 0] = now.frames.to(rows.device)[at[at >= 0]]
        return rows, look

    def reposed(self, version: int, pictures: Pictures) -> Reposed:
        """Return what is shown otherwise than it was filmed, and how."""
        if self._latest is None or self._latest[0] != version:
            self._latest = version, self._repose(version, pictures)
        return self._latest[1]

    def _repose(self, version: int, pictures: Pictures) -> Reposed:
        frames = pictures.frames
        rng = numpy_generator(self.seed, Stream.BODY, version, 1)
        kinds = self.stretches(version, frames[:1].nbytes)
        changed = [
            (stretch.rows, *change(stretch, pictures, rng))
            for stretches, change in zip(kinds, (self._zoomed, self._turned, self._limbs_lost))
            for stretch in stretches
        ]
        device = pictures.background.device
        none = torch.empty(0, *frames.shape[1:], dtype=torch.uint8, device=device)
        rows, *new = zip(*changed) if changed else ([np.empty(0, np.int64)], [none], [none])
        rows = np.concatenate(rows)
        order = rows.argsort()
        at = np.full(len(frames), -1)
        at[rows[order]] = np.arange(len(rows))
        reorder = send(torch.from_numpy(order), device)
        new = [torch.cat(list(parts))[reorder] for parts in new]
        background = 255 * pictures.background.permute(1, 2, 0).cpu().numpy()
        margins = self.margins.copy()
        margins[:, rows[order]] = person_margins(new[0], background)
        return Reposed(rows[order], *new, send(torch.from_numpy(at), device), margins)

    # ----------------------------------------------------------------------- zoom

    def _zoomed(self, stretch: Stretch, pictures: Pictures, rng) -> tuple[Tensor, Tensor]:
        background = pictures.background
        H, W = background.shape[-2:]
        places, shown = self._joints(stretch.rows)
        zoom = self._sample_zoom(stretch, places, shown, (H, W), rng)
        moved = zoom.places(places, (H, W))
        shown = shown & ends_inside(moved, H, W)
        if rng.random() < LOST_WITHOUT_HEAD:
            left = PATTERNS[int(rng.choice(UPPER_LOST))]
            shown &= left | (moved[:, NECK, 1] >= 0)[:, None]
        zoom = zoom.to(background.device)
        frames = zoom.frames(_taken(pictures.frames, stretch.rows, background), background)
        if pictures.larger is not None:
            large = _taken(pictures.larger, stretch.rows, background)
            sharp = zoom.frames(large, background, pictures.larger_background)
            frames = torch.where((zoom.scale > 1)[:, None, None, None], sharp, frames)
        return _pixels(frames), self._rendered(moved, shown, background)

    def _sample_zoom(
        self,
        stretch: Stretch,
        places: Tensor,
        shown: Tensor,
        size: tuple[int, int],
        rng: np.random.Generator,
    ) -> Zoom:
        """Sample how a person comes nearer or goes farther, about where they are across."""
        H, W = size
        least, most = np.log(SCALES)
        first = rng.uniform(least, most)
        last = np.clip(first + GROWTH * stretch.length * rng.normal(), least, most)
        scale = np.exp(first + (last - first) * _smooth(stretch.along))
        across = limb_centers(places, shown)[:, 0].numpy() / W
        padded = np.pad(across, SMOOTHED // 2, mode="edge")
        across = np.convolve(padded, np.full(SMOOTHED, 1 / SMOOTHED), "valid")
        level = self._level(H) + HEIGHT_JITTER * rng.uniform(-1, 1)
        center = np.stack([across, np.full_like(across, level)], axis=1)
        scale, center = (torch.from_numpy(value.astype(np.float32)) for value in (scale, center))
        return Zoom(scale, center)

    def _level(self, H: int) -> float:
        """The row about which people grow, as a share of the height.

        A camera that looks straight ahead is at about the height of the hips.
        """
        hips = self.skeletons.places[self.can_be.limb_dropout][:, JOINT["mid_hip"], 1]
        middle = float(hips.median()) / H if len(hips) else 0.5
        return float(np.clip(middle, 0.25, 0.6))

    # ------------------------------------------------------------ turned, and lost

    def _turned(self, stretch: Stretch, pictures: Pictures, rng) -> tuple[Tensor, Tensor]:
        background = pictures.background
        H, W = background.shape[-2:]
        first, last = np.radians(ANGLES) * rng.uniform(-1, 1, (2, 1, len(CHAINS), 2))
        angles = first + (last - first) * _smooth(stretch.along)[:, None, None]
        places, shown = self._joints(stretch.rows)
        device = background.device
        angles = send(torch.from_numpy(angles.astype(np.float32)), device)
        turn = Turn.of(angles, send(places, device), (H, W))
        frames = turn.frames(_taken(pictures.frames, stretch.rows, background), background)
        shown = send(shown, device) & ends_inside(turn.places, H, W)
        return _pixels(frames), self._rendered(turn.places, shown, background)

    def _limbs_lost(self, stretch: Stretch, pictures: Pictures, rng) -> tuple[Tensor, Tensor]:
        device = pictures.background.device
        places, shown = (send(value, device) for value in self._joints(stretch.rows))
        left = PATTERNS[int(rng.integers(len(PATTERNS)))].expand(len(shown), -1)
        poses = _taken(pictures.poses, stretch.rows, pictures.background)
        frames = _taken(pictures.frames, stretch.rows, pictures.background)
        return _pixels(frames), _pixels(erase(poses, places, shown, send(left, device)))

    # ---------------------------------------------------------------------- shared

    def _joints(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """Joints (n, J, 2) and the limbs shown (n, L)."""
        return self.skeletons.places[rows], self.skeletons.shown[rows]

    def _rendered(self, places: Tensor, shown: Tensor, background: Tensor) -> Tensor:
        H, W = background.shape[-2:]
        places, shown = (send(value, background.device) for value in (places, shown))
        return _pixels(render(places, shown, H, W, self.style))


def _smooth(along: np.ndarray) -> np.ndarray:
    """A way from 0 to 1 that begins and ends slowly."""
    return along**2 * (3 - 2 * along)


def _taken(frames: Tensor | Shards, rows: np.ndarray, like: Tensor) -> Tensor:
    """Some of (N, H, W, 3) uint8 as (n, 3, H, W) in [0, 1], where `like` lies."""
    own = frames.device
    taken = frames[send(torch.from_numpy(rows), own)]
    return to_float(send(taken, like.device)).permute(0, 3, 1, 2)


def _pixels(pictures: Tensor) -> Tensor:
    """(n, 3, H, W) in [0, 1] → (n, H, W, 3) uint8."""
    return (255 * pictures).round().byte().permute(0, 2, 3, 1)
