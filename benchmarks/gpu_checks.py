"""Is what a GPU computes right? Each check is a figure beside the greatest that is allowed.

`pytest -m gpu` asks them, and `python -m benchmarks.gpu` writes them down. On the CPU in a GPU's
place all of them hold by nature; what is tried there is that they run.
"""

import contextlib
import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.utils._pytree import tree_map_only

from benchmarks.gpu_cases import CPU, TINY, TINY_ROBOT, Case, begin, clips_of, model_of, stepping
from core.device import Compute
from engine.checkpoints.checkpoint import Checkpoint
from engine.evaluation.rollout import rollout
from engine.training.prediction_buffer import PredictionBuffer
from engine.training.run import Run

STEPS = 4


@dataclass(frozen=True)
class Check:
    """What was found, and the most that it may be."""

    name: str
    found: float
    allowed: float

    @property
    def holds(self) -> bool:
        return self.found <= self.allowed


SMALL = [
    Case("dance, prediction buffer, Muon", {"preset": "quick", **TINY, "batch_size": 4}),
    Case("dance, rolled out, AdamW", {"preset": "lab", **TINY, "train_vi_len": 4}),
    Case("robot, rolled out, Adam", {"model": "svg", "preset": "lab", **TINY_ROBOT}),
]


@contextlib.contextmanager
def exact() -> Iterator[None]:
    """Multiply in float32 within the block: TF32 has ten bits, and is on for convolutions."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


def all_checks(device: torch.device) -> Iterator[Check]:
    """Yield every check."""
    for case in SMALL:
        yield like_the_cpu(case, device)
        yield recorded_like_written(case, device)
        yield resumed_like_undisturbed(case, device)
    yield rolled_out_like_the_cpu(device)


def like_the_cpu(case: Case, device: torch.device) -> Check:
    """Compare the losses of some steps, in float32, with those of the CPU."""
    losses = []
    with exact():
        for place in (CPU, device):
            run, batch = begin(case.settings(), Compute(place))
            step = stepping(run, batch, case.forced)
            losses.append(torch.stack([step()["loss"].cpu() for _ in range(STEPS)]))
    apart = ((losses[1] - losses[0]).abs() / losses[0].abs()).max()
    return Check(f"{case.name}: {STEPS} losses beside the CPU's, relative", float(apart), 1e-3)


def recorded_like_written(case: Case, device: torch.device) -> Check:
    """Compare the weights after some recorded steps with those after steps as written, in bf16.

    Atomic additions differ in their order, so the last bits may.
    """
    weights = []
    for prepared in (False, True):
        run, batch = begin(case.settings(), Compute(device, bf16=True))
        step = stepping(run, batch, case.forced, prepared)
        for _ in range(STEPS):
            step()
        weights.append(flat(run))
        if prepared and device.type == "cuda" and run.steps.recorded != 1:
            return Check(f"{case.name}: is not recorded", float("inf"), 0.0)
    name = f"{case.name}: recorded beside written, weights after {STEPS} steps, relative"
    return Check(name, distance(*weights), 1e-3)


def resumed_like_undisturbed(case: Case, device: torch.device) -> Check:
    """Compare a run that went on from a checkpoint with one that never stopped; 0: bit for bit."""
    undisturbed, batch = begin(case.settings(), Compute(device, bf16=True))
    step, stored = stepping(undisturbed, batch, case.forced), {}
    for number in range(STEPS):
        if number == STEPS // 2:
            stored = copy.deepcopy(on_host(undisturbed.resume_state()))
        step()
    resumed, batch = begin(case.settings(), Compute(device, bf16=True))
    resumed.restore(Checkpoint({}, stored, Path("a checkpoint")))
    if (buffer := resumed.prediction_buffer) is not None:
        resumed.prediction_buffer = PredictionBuffer(buffer.frames.to(device))
    step = stepping(resumed, batch, case.forced)
    for _ in range(STEPS - STEPS // 2):
        step()
    name = f"{case.name}: resumed beside undisturbed, weights, relative (0: bit for bit)"
    return Check(name, distance(flat(undisturbed), flat(resumed)), 1e-3)


def rolled_out_like_the_cpu(device: torch.device) -> Check:
    """Compare a long rollout, which is recorded on CUDA, with that of the CPU, in gray levels."""
    settings = SMALL[1].settings()
    clips, frames = clips_of(settings, 2, 80), []
    with exact():
        for place in (CPU, device):
            compute = Compute(place)
            model = compute.prepare(model_of(settings)).eval()
            frames.append(torch.stack(rollout(model, clips, compute=compute)).float())
    apart = (frames[1] - frames[0]).abs().max()
    return Check("rollout of 80 frames beside the CPU's, gray levels", float(apart), 2.0)


def flat(run: Run) -> torch.Tensor:
    """Return all weights as one vector."""
    return torch.cat([p.detach().flatten().cpu() for p in run.model.parameters()])


def distance(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).norm() / one.norm())


def on_host(state):
    """Return nested state with its tensors on the host, as a file holds it."""
    return tree_map_only(torch.Tensor, torch.Tensor.cpu, state)
