"""Training on the model's own frames without a rollout in every step.

At test time a frame is predicted from a predicted one, so that is what the model must learn to
predict from. Rolling a window out for it makes the steps of a window wait for each other, and a
short window never meets what errors have become after hundreds of frames. Here the latest
prediction of every training frame is buffered, and a step starts from the buffered prediction of
the frame before. Predictions are made from predictions, so their errors have the age of a rollout
that grows with the epochs; all steps are computed at once, and windows may be as short as two
frames.

After parallel scheduled sampling (Duckworth et al. 2019), which makes the predictions anew in
passes before each step, where these are those of steps before.
"""

import os
from collections.abc import Sequence

import torch
from torch import Tensor

from core import distributed
from core.errors import UserError
from data.store.shards import Shards
from data.types import Batch, TrainingData, to_float
from engine.evaluation.rollout import to_uint8
from settings.resolve import Settings


def check_prediction_buffer(
    stored: "PredictionBuffer | None", data: TrainingData, settings: Settings
) -> None:
    """Raise UserError where the buffer would not fit into memory, or is of other frames."""
    if settings.prediction_buffer:
        check_memory(data.frames)
    if stored is not None and stored.frames.shape != data.frames.shape:
        raise UserError(
            f"--ckpt_path: its prediction buffer has frames of shape {tuple(stored.frames.shape)}, "
            f"--DR {tuple(data.frames.shape)}; --warm_start takes the weights alone"
        )


def begin_prediction_buffer(
    stored: "PredictionBuffer | None", data: TrainingData, steps: int
) -> "PredictionBuffer":
    """Return the buffer that was stored with a run, or a new one from the true frames."""
    if stored is not None:
        return PredictionBuffer(stored.frames.to(data.frames.device), stored.version)
    if steps:
        print(
            "this checkpoint holds no prediction buffer (last.ckpt does): it begins with true "
            "frames, so that the run ends with other weights than one that never stopped"
        )
    return PredictionBuffer(data.frames)


def check_memory(frames: Tensor | Shards) -> None:
    """Raise UserError where the predictions of so many frames do not fit into the host's memory.

    Every process keeps all of them, and the first a copy while it saves.
    """
    copies = distributed.local_world_size() + 1
    if frames.device.type != "cpu" or not hasattr(os, "sysconf"):
        return
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if copies * frames.nbytes > memory:
        raise UserError(
            "--prediction_buffer keeps a prediction of every training frame in memory, "
            f"{copies} times {frames.nbytes / 2**30:.1f} GiB here, which has "
            f"{memory / 2**30:.1f}: --no-prediction_buffer rolls windows out instead"
        )


class PredictionBuffer:
    """The model's latest prediction of every training frame; the true frame until there is one."""

    def __init__(self, frames: Tensor | Shards, version: int = 0):
        """Begin with the true frames, (N, H, W, C) uint8 on any device, as a version shows them."""
        self.version = version
        self.frames = frames.to(frames.device) if isinstance(frames, Shards) else frames.clone()
        # (N,) which prediction of a batch each frame takes: of use within `keep` alone.
        self._taken = torch.empty(len(frames), dtype=torch.int64, device=self.frames.device)

    def renew(self, version: int, index: Tensor, frames: Tensor) -> None:
        """Go on with a version that differs at (n,): anew from its frames (n, H, W, C) uint8."""
        self.version = version
        self.frames[index] = frames

    def previous(
        self, batch: Batch, teacher_forcing: Sequence[bool], swapped: Tensor | None = None
    ) -> Tensor:
        """Return the frames to predict from, (B, T - 1, C, H, W): true where the flag is set.

        swapped (B,) bool: windows whose buffered predictions are those of the window before them in
        the global batch.
        """
        true = batch.frames[:, :-1]
        if all(teacher_forcing):
            return true
        index = batch.index[:-1]
        if swapped is not None:
            before = distributed.gather(index, dim=1).roll(1, dims=1)
            index = torch.where(swapped, distributed.local_shard(before.T).T, index)
        kept = self._buffered(index, true.device)
        if batch.warp is not None:
            kept = batch.warp.frames(kept)
        if not any(teacher_forcing):
            return kept
        chosen = [true if forced else kept for forced in teacher_forcing]
        return torch.stack([source[:, t] for t, source in enumerate(chosen)], dim=1)

    def keep(self, batch: Batch, predictions: Tensor, finite: Tensor) -> None:
        """Buffer the predictions (B, T - 1, C, H, W) of frames 1 to T - 1 of each window.

        Those of all processes, since another may ask for the frame next; all buffer the same. Where
        `finite`, a boolean scalar, is not set, what was there before stays. Of a frame that several
        windows predict, the last one's is taken: on CUDA it would be up to chance, and differ
        between processes.
        """
        index, home = batch.index[1:], self.frames.device
        if batch.warp is not None:
            predictions, known = batch.warp.back(predictions)
            predictions = torch.where(known, predictions, self._buffered(index, predictions.device))
        index = distributed.gather(index, dim=1).to(home)  # (T-1, B of all)
        pixels = distributed.gather(to_uint8(predictions).permute(1, 0, 3, 4, 2), dim=1).to(home)
        pixels = pixels.flatten(0, 1)[self._last_of_each(index.flatten())].view_as(pixels)
        self.frames[index] = torch.where(finite.to(home), pixels, self.frames[index])

    def _last_of_each(self, index: Tensor) -> Tensor:
        """Return for each of the frames in `index` (n,) where it stands there last."""
        order = torch.arange(len(index), device=index.device)
        self._taken.index_fill_(0, index, -1)
        return self._taken.scatter_reduce_(0, index, order, "amax")[index]

    def _buffered(self, index: Tensor, device: torch.device) -> Tensor:
        """Return the buffered frames at (T, B) as (B, T, C, H, W) in [0, 1]."""
        return to_float(self.frames[index].to(device)).permute(1, 0, 4, 2, 3)
