"""Rolling a model out: one step, then a batch of clips, then clips of any length.

The true current frame never enters: a roll-out is given first frames, conditions and noise.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only

from engine.contract import Clip, Model, to_float
from engine.device import Compute
from engine.randomness import Stream, normal

CONDITION_CHUNK = 64  # frames whose conditions are encoded at a time, which bounds the memory


@torch.inference_mode()
def roll_out(
    model: Model,
    clips: Sequence[Clip],
    *,
    compute: Compute,
    z: str = "sample",
    temperature: float = 1.0,
    seed: int = 0,
) -> list[Tensor]:
    """Predict every clip from its first frame and its conditions, all clips as one batch.

    Returns for each clip (T, C, H, W) uint8 on the CPU, frame 0 being the given one. z `sample`
    draws the latent of frame t of clip k from N(0, temperature²) by (seed, k, t); `mean` is 0.
    The model keeps its mode: call `eval()` before.
    """
    if compute.device.type == "cuda":
        with torch.cuda.device(compute.device):  # streams and graphs are those of the current one
            return _roll_out(model, clips, compute, z, temperature, seed)
    return _roll_out(model, clips, compute, z, temperature, seed)


def _roll_out(
    model: Model,
    clips: Sequence[Clip],
    compute: Compute,
    z: str,
    temperature: float,
    seed: int,
) -> list[Tensor]:
    device = compute.device
    longest = max(len(clip) for clip in clips)
    # Shorter clips go on with their last condition and are cut afterwards.
    rows = [torch.arange(longest).clamp(max=len(clip) - 1) for clip in clips]
    frame = torch.stack([clip.frames[0] for clip in clips]).to(device)
    predicted = torch.empty(longest, *frame.shape, dtype=torch.uint8, device=device)
    predicted[0] = frame
    frame = to_float(frame)  # (B, C, H, W)
    state = model.initial_state(frame)
    predict: Callable = model.predict
    # One autocast context for the whole roll-out: it keeps the weights it has cast until its end.
    with compute.autocast():
        for start in range(1, longest, CONDITION_CHUNK):
            steps = range(start, min(start + CONDITION_CHUNK, longest))
            conditions = torch.stack(
                [clip.conditions[row[steps.start : steps.stop]] for clip, row in zip(clips, rows)]
            )
            features = model.encode_conditions(to_float(conditions.to(device)))
            noise = _prior_noise(model, len(clips), steps, z, temperature, seed, device)
            if start == 1 and device.type == "cuda":
                predict = CapturedPredict(model, frame, features[:, 0], state, noise[:, 0])
            for i, t in enumerate(steps):
                frame, state = predict(frame, features[:, i], state, noise[:, i])
                predicted[t] = to_uint8(frame)
    predicted = predicted.cpu()
    return [predicted[: len(clip), k] for k, clip in enumerate(clips)]


class CapturedPredict:
    """`model.predict` captured as a CUDA graph: one launch a frame instead of some hundred.

    A graph works on fixed memory. Frame and state are read and written in place, so a result is
    overwritten by the next call, and what is passed in is taken from there, not from the argument.
    """

    WARM_UP = 3  # calls before the capture, in which kernels are chosen and compiled

    def __init__(self, model: Model, frame: Tensor, condition: Tensor, state: Any, noise: Tensor):
        self.frame, self.condition, self.noise = (x.clone() for x in (frame, condition, noise))
        self.state = tree_map_only(Tensor, Tensor.clone, state)
        inputs = (self.frame, self.condition, self.state, self.noise)
        side_stream = torch.cuda.Stream()
        side_stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side_stream):
            for _ in range(self.WARM_UP):
                model.predict(*inputs)
        torch.cuda.current_stream().wait_stream(side_stream)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            next_frame, next_state = model.predict(*inputs)
            self.frame.copy_(next_frame)
            for old, new in zip(tree_leaves(self.state), tree_leaves(next_state)):
                if torch.is_tensor(old):
                    old.copy_(new)

    def __call__(
        self, frame: Tensor, condition: Tensor, state: Any, noise: Tensor
    ) -> tuple[Tensor, Any]:
        self.condition.copy_(condition)
        self.noise.copy_(noise)
        self.graph.replay()
        return self.frame, self.state


def _prior_noise(
    model: Model,
    clips: int,
    steps: range,
    z: str,
    temperature: float,
    seed: int,
    device: torch.device,
) -> Tensor:
    """Return the latents of some steps: (B, len(steps), *latent_shape)."""
    if z == "mean":
        zero = torch.zeros(1, device=device)
        return zero.expand(clips, len(steps), *model.latent_shape)
    counters = [(clip, step) for clip in range(clips) for step in steps]
    noise = normal(model.latent_shape, seed, Stream.PRIOR, counters, device)
    return temperature * noise.unflatten(0, (clips, len(steps)))


def to_uint8(frame: Tensor) -> Tensor:
    """Quantise [0, 1] → 0…255 as the submission does: rint(255·x)."""
    return (frame * 255).round().clamp(0, 255).to(torch.uint8)
