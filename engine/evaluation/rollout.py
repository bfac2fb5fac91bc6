"""Rollout: one step, then a batch of clips, then clips of any length.

The true current frame never enters a prediction: a rollout is given context frames, conditions
and noise (docs/method.md).
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only

from core import distributed, graphs
from core.device import Compute
from core.randomness import Stream, normal
from core.words import number_of
from data.types import Clip, to_float
from engine.contract import Model

Watch = Callable[[str, int, int], None]  # told what is done: so many of so many
# Frames of a clip whose conditions are encoded at a time, which bounds the memory: so many, and
# fewer where they are large pictures.
CONDITION_CHUNK, CHUNK_PIXELS = 64, 64 * 64 * 64


def unwatched(what: str, done: int, of: int) -> None:
    """Watch nothing."""


@torch.inference_mode()
def rollout(
    model: Model,
    clips: Sequence[Clip],
    *,
    compute: Compute,
    z: str = "sample",
    temperature: float = 1.0,
    seed: int = 0,
    draws: Sequence[tuple[int, ...]] | None = None,
    posterior: bool = False,
    watch: Watch = unwatched,
) -> list[Tensor]:
    """Predict every clip from its context frames and its conditions, all clips as one batch.

    Returns for each clip (T, C, H, W) uint8 on the CPU, which begins with the context frames; all
    clips have as many. z `sample` samples the latent of frame t of clip k from the prior, with
    noise that is a function of (seed, *draws[k], t), scaled by temperature; draws[k] is (k,) where
    not given. z `mean` takes the prior's mean. posterior: sample every latent from the posterior
    of the true frame instead, an oracle and no prediction. watch hears of every frame. The model
    keeps its mode: call `eval()` before.
    """
    noise = PriorNoise(
        z, temperature, seed, draws if draws is not None else [(k,) for k in range(len(clips))]
    )
    return _rollout(model, clips, compute, noise, posterior, watch)


def rollout_share(model: Model, clips: Sequence[Clip], **how: Any) -> list[Tensor]:
    """Predict this process's share of the clips, each as `rollout` predicts it among all."""
    own = distributed.rank_indices(len(clips))
    if not own:
        return []
    return rollout(model, [clips[k] for k in own], draws=[(k,) for k in own], **how)


def rollout_all(model: Model, clips: Sequence[Clip], **how: Any) -> list[Tensor]:
    """Return in every process what `rollout` returns, the clips shared out over all."""
    return distributed.gather_objects(rollout_share(model, clips, **how), len(clips))


def _rollout(
    model: Model,
    clips: Sequence[Clip],
    compute: Compute,
    noise_of: "PriorNoise",
    posterior: bool,
    watch: Watch,
) -> list[Tensor]:
    device, n_past = compute.device, clips[0].n_past
    longest = max(len(clip) for clip in clips)
    # Shorter clips are padded with their last condition and cropped afterwards.
    rows = [torch.arange(longest).clamp(max=len(clip) - 1) for clip in clips]
    context = torch.stack([clip.frames[:n_past] for clip in clips], dim=1).to(device)
    predicted = torch.empty(longest, *context.shape[1:], dtype=torch.uint8, device=device)
    predicted[:n_past] = context
    context = to_float(context)  # (n_past, B, C, H, W)
    # One autocast context for the whole rollout: it keeps the weights it has cast until its end.
    with compute.uncompiled(), compute.autocast():
        stepper = Stepper(model, context, longest - n_past)
        chunk = max(1, min(CONDITION_CHUNK, CHUNK_PIXELS // context[0, 0, 0].numel()))
        for start in range(1, longest, chunk):
            steps = range(start, min(start + chunk, longest))
            conditions = torch.stack(
                [clip.conditions[row[steps.start : steps.stop]] for clip, row in zip(clips, rows)]
            )
            features = model.encode_conditions(to_float(conditions.to(device)))
            noise = noise_of(model.latent_shape, steps, device)
            for i, t in enumerate(steps):
                truth = None
                if posterior and t >= n_past:
                    truth = torch.stack([clip.frames[row[t]] for clip, row in zip(clips, rows)])
                    truth = to_float(truth.to(device))
                frame = stepper.step(features[:, i], noise[:, i], truth)
                if t >= n_past:
                    predicted[t] = to_uint8(frame)
                    watch("frame", t + 1, longest)
    predicted = predicted.cpu()
    tell_restarts(clips, stepper.restarts)
    return [predicted[: len(clip), k] for k, clip in enumerate(clips)]


def tell_restarts(clips: Sequence[Clip], restarts: Tensor) -> None:
    """Say how many predictions were not finite, and of which clips: restarts (B,)."""
    counts = {clip.name: count for clip, count in zip(clips, restarts.tolist()) if count}
    if counts:
        print(
            f"{number_of(sum(counts.values()), 'prediction')} of sequence {', '.join(counts)} not "
            "finite: the last given frame stands in for each; a pose unlike any in training can "
            "cause it",
            file=sys.stderr,
        )


class Stepper:
    """A rollout that is given its conditions one at a time: `rollout` steps so, and a player.

    `frame` is the latest, (B, C, H, W) in [0, 1], and frame `t` of the clips. Step inside
    `torch.inference_mode()` and one `autocast()`.
    """

    # A capture takes as long as some ten steps: three to warm up, one to record, and what building
    # the graph takes. From three times as many on it is sure to pay; a player has no end.
    CAPTURED_FROM = 32

    def __init__(self, model: Model, context: Tensor, predicted: int | None = None):
        """Begin at the first of the context frames (n_past, B, C, H, W) in [0, 1].

        predicted: how many frames will be predicted, where that is known; on CUDA many are by a
        graph that is captured, few are not worth it.
        """
        self.model, self.context, self.t = model, context, 0
        is_long = predicted is None or predicted >= self.CAPTURED_FROM
        self._captures = is_long and graphs.can_record(context.device)
        self.frame, self.state = context[0], model.initial_state(context[0])
        self.restarts = torch.zeros(context.shape[1], dtype=torch.int64, device=context.device)
        self._at_once: Callable = partial(predict_or_restart, model, context[-1], self.restarts)
        self._predict = self._at_once

    def step(self, feature: Tensor, noise: Tensor, truth: Tensor | None = None) -> Tensor:
        """Take the next context frame in, or predict one; return it.

        feature, of the encoded conditions, and noise are those of the frame to come; truth makes
        the latent a sample of the posterior.
        """
        self.t += 1
        inputs = (self.frame, feature, self.state, noise)
        if self.t < len(self.context):
            self.frame = self.context[self.t]
            self.state = self.model.observe(*inputs, self.frame)
        elif truth is not None:
            self.frame, self.state = self._at_once(*inputs, truth)
        else:
            if self.t == len(self.context) and self._captures:
                self._predict = CapturedPredict(self._at_once, *inputs)
            self.frame, self.state = self._predict(*inputs)
        return self.frame


def predict_or_restart(
    model: Model, start: Tensor, restarts: Tensor, frame: Tensor, *inputs: Any
) -> tuple[Tensor, Any]:
    """Predict the frame after `frame`, and the state; `start` stands in for what is not finite.

    The gates of the networks multiply: a frame unlike any in training, which a pose unlike any may
    leave behind, can take them beyond all bounds, and every later prediction with it. From the
    true frame of `start` the rollout goes on as it began. All frames are (B, C, H, W); restarts
    (B,) counts where that was so.
    """
    predicted, state = model.predict(frame, *inputs)
    finite = predicted.isfinite().flatten(1).all(1)
    restarts += ~finite
    return torch.where(finite[:, None, None, None], predicted, start), state


class CapturedPredict:
    """A prediction captured as a CUDA graph: one launch a frame instead of some hundred.

    A graph works on fixed memory. Frame and state are read and written in place, so a result is
    overwritten by the next call, and what is passed in is taken from there, not from the argument.
    """

    def __init__(
        self, predict: Callable, frame: Tensor, condition: Tensor, state: Any, noise: Tensor
    ):
        """predict: (frame, condition, state, noise) → (next frame, next state)."""
        self.frame, self.condition, self.noise = (x.clone() for x in (frame, condition, noise))
        self.state = tree_map_only(Tensor, Tensor.clone, state)
        inputs = (self.frame, self.condition, self.state, self.noise)

        def in_place() -> None:
            next_frame, next_state = predict(*inputs)
            self.frame.copy_(next_frame)
            for old, new in zip(tree_leaves(self.state), tree_leaves(next_state)):
                if torch.is_tensor(old):
                    old.copy_(new)

        self._replay = graphs.record(in_place, frame.device, lambda: predict(*inputs))

    def __call__(
        self, frame: Tensor, condition: Tensor, state: Any, noise: Tensor
    ) -> tuple[Tensor, Any]:
        self.condition.copy_(condition)
        self.noise.copy_(noise)
        self._replay()
        return self.frame, self.state


@dataclass(frozen=True)
class PriorNoise:
    """The noise of a rollout: that of frame t of clip k is a function of (seed, *draws[k], t)."""

    z: str
    temperature: float
    seed: int
    draws: Sequence[tuple[int, ...]]

    def __call__(self, shape: tuple[int, ...], steps: range, device: torch.device) -> Tensor:
        """Return the noise of some steps: (B, len(steps), *shape)."""
        clips = len(self.draws)
        if self.z == "mean":
            return torch.zeros(1, device=device).expand(clips, len(steps), *shape)
        counters = [(*draw, step) for draw in self.draws for step in steps]
        noise = normal(shape, self.seed, Stream.PRIOR, counters, device)
        return self.temperature * noise.unflatten(0, (clips, len(steps)))


def to_uint8(frame: Tensor) -> Tensor:
    """Quantize [0, 1] → 0…255 as the submission does: rint(255·x)."""
    return (frame * 255).round().clamp(0, 255).to(torch.uint8)
