"""Which windows show a person nearer, farther or with limbs turned, and which poses lose limbs.

All are functions of (seed, epoch, batch). What is changed here is flipped, shifted and sheared
afterwards (`augmentation.py`) as if it had been filmed. Dimensions: B windows, n of them changed,
T frames, J joints, L limbs, H×W picture.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from core import distributed
from core.randomness import Stream, numpy_generator
from core.transfer import send
from data.augmentation.limb_dropout import PATTERNS, UPPER_LOST, erase, lost_patterns, period_of
from data.augmentation.skeletons import FittedPoses
from data.augmentation.skinning import CHAINS, Turn
from data.augmentation.zoom import Zoom
from data.placement import gather_windows
from data.pose.colors import ALL_LIMBS
from data.pose.rendering import ends_inside, joints_shown, render
from data.pose.skeleton import JOINT
from data.store.shards import Shards
from data.types import Batch
from data.warp import Warp
from data.windows import Recording

SCALES = (0.6, 2.5)  # of a person
GROWTH = 0.015  # standard deviation of the log of what a person grows or shrinks by in a frame
HEIGHT_JITTER = 0.06  # of the picture's height, by which the point that stays varies
ANGLES = (35.0, 50.0)  # degrees at most, of an upper and of a lower bone
DOUBTFUL = 0.12  # residual from which a fit is not trusted
LOST_WITHOUT_HEAD = 0.5  # chance that who is cut at the neck loses limbs in the picture as well
TOGETHER = 64  # pose images from which limbs are erased at a time
NECK = JOINT["neck"]

LIMBS_TO_TURN = [
    limb
    for limb, (_, end, _) in enumerate(ALL_LIMBS)
    if end.startswith(("mid_hip", "shoulder", "elbow", "wrist", "hip", "knee", "ankle"))
]


@dataclass(frozen=True)
class Rates:
    """Parts of the windows, and for `limb_dropout` of the frames, that are changed."""

    zoom: float = 0.0
    limb_rotation: float = 0.0
    limb_dropout: float = 0.0

    @property
    def any(self) -> bool:
        """True where something is changed at all."""
        return max(self.zoom, self.limb_rotation, self.limb_dropout) > 0


@dataclass(frozen=True)
class Changed:
    """Windows `rows` (n,) of a batch whose person is scaled or turned, and how."""

    rows: Tensor
    change: Zoom | Turn
    background: Tensor
    true: Tensor  # (n, T, C, H, W), before
    sharper: Tensor | None  # and after, where that is from larger pictures

    def frames(self, frames: Tensor) -> Tensor:
        """Change the foreground of other frames of these windows, (n, t, C, H, W), t ≤ T.

        Where larger pictures gave the true ones, what these differ in is changed and added.
        """
        t = frames.shape[1]
        change, behind = self.change.first(t), self.background
        changed = change.frames(frames, behind, behind)
        if self.sharper is None:
            return changed
        error = changed - change.frames(self.true[:, :t], behind, behind)
        return (self.sharper[:, :t] + error).clamp_(0, 1)


@dataclass(frozen=True)
class ReposedWarp:
    """A warp of a batch some of whose windows are changed before (`Warp`)."""

    warp: Warp
    changes: tuple[Changed, ...]

    def frames(self, frames: Tensor) -> Tensor:
        """Change and warp the foreground: (B, t, C, H, W) → the same."""
        if self.changes:
            frames = frames.clone()
        for changed in self.changes:
            frames[changed.rows] = changed.frames(frames[changed.rows])
        return self.warp.frames(frames)

    def back(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Undo the warp; of a changed window nothing is known then."""
        frames, known = self.warp.back(frames)
        if self.changes:
            known = known.clone()
        for changed in self.changes:
            known[changed.rows] = False
        return frames, known


class Lost(NamedTuple):
    """The pose images that lack limbs for some epochs."""

    period: int
    at: Tensor  # (N,) where the pose image of a frame is, -1: it is whole
    images: Tensor  # (lost, H, W, 3) uint8


class Reposing:
    """Changes windows as (seed, epoch, batch) say."""

    def __init__(
        self,
        rates: Rates,
        seed: int,
        images: Tensor | Shards,
        poses: FittedPoses,
        recordings: list[Recording],
        background: Tensor,
        larger: Tensor | Shards | None = None,
        larger_background: Tensor | None = None,
    ):
        """images (N, H, W, 3) uint8: the pose images, with their skeletons in `poses`.

        background (C, H, W); larger: the frames in a multiple of their size, if there are."""
        self.rates, self.seed, self.recordings = rates, seed, recordings
        self.images = images
        self.skeletons, self.style = poses
        self.background = background
        self.larger, self.larger_background = larger, larger_background
        self.trusted = (self.skeletons.residual < DOUBTFUL) & self.skeletons.shown.any(1)
        inside = self.skeletons.places[self.trusted][:, JOINT["mid_hip"], 1]
        middle = float(inside.median()) if len(inside) else 0.5 * background.shape[-2]
        # A camera that looks straight ahead at about the height of the hips: who comes nearer
        # grows about this row.
        self.level = float(np.clip(middle / background.shape[-2], 0.25, 0.6))
        self.lost: Lost | None = None

    def apply(
        self, batch: Batch, index: Tensor, margins: np.ndarray, epoch: int, number: int
    ) -> tuple[Batch, tuple[Changed, ...], np.ndarray]:
        """Return the batch with some windows scaled or turned, how, and which these are, (B,) bool.

        index: the frames of the windows, (T, B), on the host. margins (4, B): free pixels left of,
        above, right of and below the person in any frame.
        """
        own, B = distributed.local_shard, distributed.world_size() * index.shape[1]
        rng = numpy_generator(self.seed, Stream.BODY, epoch, number)
        toss, chances = own(rng.random(B)), own(rng.random((B, 16)))
        trusted = self.trusted[index].all(0).numpy()
        zoomed = trusted & (toss < self.rates.zoom)
        turned = trusted & (toss > 1 - self.rates.limb_rotation) & ~zoomed
        turned &= self.skeletons.shown[index].all(0)[:, LIMBS_TO_TURN].all(1).numpy()
        frames, poses = batch.frames.clone(), batch.conditions.clone()
        if self.rates.limb_dropout:
            some = np.flatnonzero(~zoomed & ~turned)
            self._lose_limbs(poses, index, some, epoch)
        changes = []
        for chosen, change in ((zoomed, self._zoom), (turned, self._turn)):
            if not chosen.any():
                continue
            some = index[:, chosen]  # (T, n)
            rows = send(torch.from_numpy(np.flatnonzero(chosen)), frames.device)
            made, after = change(batch, rows, some, margins[:, chosen], chances[chosen], poses)
            frames[rows] = after
            sharper = after if change == self._zoom and self.larger is not None else None
            changes.append(Changed(rows, made, self.background, batch.frames[rows], sharper))
        return batch._replace(frames=frames, conditions=poses), tuple(changes), zoomed | turned

    # ----------------------------------------------------------------------- zoom

    def _zoom(self, batch, rows, index, margins, chances, poses) -> tuple[Zoom, Tensor]:
        zoom = self._sample_zoom(index, margins, chances)
        near = (zoom.scale > 1).all(1)
        H, W = self.background.shape[-2:]
        places = self._places(index)  # (n, T, J, 2)
        moved = zoom.places(places, (H, W))
        shown = self._shown(index) & ends_inside(moved, H, W)
        shown &= self._kept_without_head(moved, chances)
        device = batch.frames.device
        zoom = zoom.to(device)
        self._render(poses, rows, moved, shown)
        frames = batch.frames[rows]
        after = zoom.frames(frames, self.background, self.background)
        if self.larger is not None and near.any():
            where = send(index[:, near], self.larger.device)
            large = gather_windows(self.larger, where, device)
            at = send(near.nonzero()[:, 0], device)
            some = Zoom(*(value[at] for value in zoom))
            after[at] = some.frames(large, self.background, self.larger_background)
        return zoom, after

    def _sample_zoom(self, index: Tensor, margins: np.ndarray, chances: np.ndarray) -> Zoom:
        """Sample how n windows are scaled; a side where a person is cut stays at the border."""
        T = len(index)
        W = self.background.shape[-1]
        cut_left, cut_top, cut_right, cut_bottom = margins == 0
        least, most = np.log(SCALES)
        least = np.where(cut_left | cut_top | cut_right | cut_bottom, 0.0, least)
        scale = np.exp(least + chances[:, 0] * (most - least))
        growth = GROWTH * np.sqrt(12) * (chances[:, 1] - 0.5)
        scales = np.exp(growth[:, None] * (np.arange(T) - (T - 1))) * scale[:, None]
        places = self._places(index)[:, -1].numpy()  # (n, J, 2)
        seen = joints_shown(self.skeletons.shown[index[-1]]).numpy()
        x = np.where(seen, places[..., 0], np.nan)
        center = np.nanmean(x, axis=1) / W
        level = self.level + HEIGHT_JITTER * (2 * chances[:, 2] - 1)
        target = 0.1 + 0.8 * chances[:, 3]
        smallest = scales.min(1)
        target = np.where(cut_left, np.minimum(target, smallest * center), target)
        target = np.where(cut_right, np.maximum(target, 1 - smallest * (1 - center)), target)
        stack = (np.stack([center, level], axis=1), np.stack([target, level], axis=1))
        return Zoom(*(torch.from_numpy(v.astype(np.float32)) for v in (scales, *stack)))

    def _kept_without_head(self, moved: Tensor, chances: np.ndarray) -> Tensor:
        """What an estimator finds of people whose head is out of the picture: (n, T, L) bool."""
        headless = (moved[:, :, NECK, 1] < 0).any(1)
        lost = headless & torch.from_numpy(chances[:, 4] < LOST_WITHOUT_HEAD)
        which = np.array(UPPER_LOST)[(chances[:, 5] * len(UPPER_LOST)).astype(int)]
        kept = PATTERNS[torch.from_numpy(which)] | ~lost[:, None]
        return kept[:, None]

    # ------------------------------------------------------------------- rotation

    def _turn(self, batch, rows, index, margins, chances, poses) -> tuple[Turn, Tensor]:
        n = len(rows)
        signed = 2 * chances[:, : 2 * len(CHAINS)].reshape(n, len(CHAINS), 2) - 1
        angles = np.radians(ANGLES) * signed
        device = batch.frames.device
        H, W = self.background.shape[-2:]
        angles = send(torch.from_numpy(angles.astype(np.float32)), device)
        turn = Turn.of(angles, send(self._places(index), device), (H, W))
        shown = send(self._shown(index), device) & ends_inside(turn.places, H, W)
        self._render(poses, rows, turn.places, shown)
        return turn, turn.frames(batch.frames[rows], self.background)

    def _render(self, poses: Tensor, rows: Tensor, places: Tensor, shown: Tensor) -> None:
        """Render joints (n, T, J, 2) into the windows `rows` of pose images, in place.

        The pose of a window's first frame is left blank: nothing is predicted from it.
        """
        H, W = self.background.shape[-2:]
        flat = (send(values[:, 1:].flatten(0, 1), poses.device) for values in (places, shown))
        rendered = render(*flat, H, W, self.style).unflatten(0, (len(rows), -1))
        poses[rows] = torch.cat([torch.ones_like(rendered[:, :1]), rendered], dim=1)

    # -------------------------------------------------------------------- dropout

    def _lose_limbs(self, poses: Tensor, index: Tensor, some: np.ndarray, epoch: int) -> None:
        """Put into the windows `some`, in place, the poses that have lost limbs in this epoch."""
        if self.lost is None or self.lost.period != period_of(epoch):
            self.lost = self._lost_in(epoch)
        at = self.lost.at[index[:, some]]  # (T, n)
        steps, columns = (at >= 0).nonzero(as_tuple=True)
        rows = torch.from_numpy(some)[columns]
        device = poses.device
        images = send(self.lost.images[at[steps, columns]], device).permute(0, 3, 1, 2)
        poses[send(rows, device), send(steps, device)] = images / 255

    def _lost_in(self, epoch: int) -> "Lost":
        """Erase limbs from the pose images that lose some in this epoch."""
        rate = self.rates.limb_dropout
        patterns = torch.from_numpy(lost_patterns(self.recordings, rate, self.seed, epoch))
        frames = (patterns >= 0).nonzero()[:, 0]
        at = torch.full_like(patterns, -1)
        at[frames] = torch.arange(len(frames))
        images = [
            erase(
                self.images[some].cpu().permute(0, 3, 1, 2) / 255,
                self.skeletons.places[some],
                self.skeletons.shown[some],
                PATTERNS[patterns[some]],
            )
            for some in frames.split(TOGETHER)
        ]
        pixels = torch.cat([(255 * part).round().byte().permute(0, 2, 3, 1) for part in images])
        return Lost(period_of(epoch), at, pixels)

    # ---------------------------------------------------------------------- joints

    def _places(self, index: Tensor) -> Tensor:
        """Joints of windows (T, n) as (n, T, J, 2)."""
        return self.skeletons.places[index].transpose(0, 1)

    def _shown(self, index: Tensor) -> Tensor:
        """Limbs of windows (T, n) as (n, T, L) bool."""
        return self.skeletons.shown[index].transpose(0, 1)
