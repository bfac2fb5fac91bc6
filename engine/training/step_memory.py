"""What a training step costs in memory, found out with a window or two before the first step.

What grows with the batch is what the backward pass needs of the forward pass: the tensors that
autograd keeps. They are counted for two windows of as few frames as there can be, and for a frame
or a window more; what is kept grows with both. Backward passes need room of their own besides,
which `ROOM` allows for.
"""

from typing import NamedTuple

from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.func import functional_call

from core import distributed
from core.errors import UserError
from core.memory import as_bytes, free_memory
from data.types import Batch, TrainingData
from engine.training.run import Run
from engine.training.step import StepInputs

ROOM = 1.5  # of what is kept: gradients of activations, copies in other layouts (docs/training.md)


class StepMemory(NamedTuple):
    """What one process needs, in bytes."""

    window: int  # of one window in a step
    step: int  # of all of them
    held: int  # the prediction buffer, the optimizer's state, gradients

    def __str__(self) -> str:
        return (
            f"about {as_bytes(self.window)} a window, {as_bytes(self.step)} a step; "
            f"{as_bytes(self.held)} for gradients, optimizer and buffered predictions"
        )


def measure_step_memory(run: Run, data: TrainingData, n_past: int = 1) -> StepMemory:
    """Return what the steps of a run will need, of memory that is not taken yet.

    n_past: the context frames of a window, which no shorter one has.
    """
    batch = next(iter(data.batches(run.epoch)))
    B, T = batch.frames.shape[:2]
    few, shortest = min(2, B), min(n_past + 1, T)  # BatchNorm may not do with one
    kept = _kept_bytes(run, batch, few, shortest)
    if shortest < T:
        kept += (T - shortest) * (_kept_bytes(run, batch, few, shortest + 1) - kept)
    window = kept / few
    if shortest == T and few < B:  # without what all windows share, such as weights in bf16
        window = _kept_bytes(run, batch, few + 1, T) - kept
    window = round(ROOM * window)
    weights = sum(weight.nbytes for weight in run.model.parameters())
    held = 3 * weights  # gradients, and two values a weight of Adam, which needs the most
    if run.settings.prediction_buffer and data.frames.device.type == run.compute.device.type:
        held += data.frames.nbytes  # elsewhere it lies on the host, as the frames do
    return StepMemory(window, B * window, held)


def _kept_bytes(run: Run, batch: Batch, windows: int, length: int) -> int:
    """Return the size of what autograd keeps of a forward pass; nothing is changed by it."""
    frames = batch.frames[:windows, :length]
    own = {weight.untyped_storage().data_ptr() for weight in run.model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    state = {name: value.clone() for name, value in run.model.named_buffers()}

    def network(*inputs, **how):
        return functional_call(run.model, state, inputs, how)

    noise = frames.new_zeros(windows, length - 1, *run.model.latent_shape)
    few = Batch(frames, batch.conditions[:windows, :length])
    inputs = StepInputs(few, noise, swapped=None, kl_beta=1.0)
    forced = [False] * (length - 1)  # which keeps the most
    previous = frames[:, :-1] if run.settings.prediction_buffer else None
    with saved_tensors_hooks(keep, lambda tensor: tensor), run.compute.uncompiled():
        run.training_step.forward(network, inputs, forced, previous)
    return sum(size for pointer, size in kept.items() if pointer not in own)


def check_step_memory(run: Run, data: TrainingData, n_past: int = 1) -> StepMemory:
    """Measure; raise UserError where the machine has less memory than the steps would need.

    In all processes of a run together: each measures, the first decides.
    """
    need = measure_step_memory(run, data, n_past)
    distributed.broadcast_from_main(lambda: _refuse_too_much(need, run))
    return need


def _refuse_too_much(need: StepMemory, run: Run) -> None:
    free = free_memory(run.compute.device)
    if free is None:
        return
    share = free // (distributed.local_world_size() if run.compute.device.type == "cpu" else 1)
    if need.step + need.held <= share:
        return
    fits = max(0, share - need.held) // max(1, need.window)
    way_out = f"lower --batch_size to {fits}, or" if fits else "lower"
    raise UserError(
        f"--batch_size {run.settings.batch_size}: a step would need {as_bytes(need.step)} "
        f"({as_bytes(need.window)} a window) and {as_bytes(need.held)} besides, and "
        f"{run.compute.device} has {as_bytes(share)} free: {way_out} --train_vi_len, the widths "
        "or the frame size"
    )
