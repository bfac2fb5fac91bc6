"""Steps that are prepared before they are taken: compiled, and on a GPU recorded as a CUDA graph.

A step of a thousand operations takes the host longer to launch than a GPU to compute. Recorded, all
of it is one launch: forward, backward, clipping, optimizer, buffer and metrics. What is computed
does not change, and the step as it is written stays the oracle.

A graph works on fixed memory: inputs are copied to where they lay when it was recorded; rates and
counts of steps are tensors already. The pattern of teacher forcing decides what is computed, so
each that occurs has a graph of its own; where there are many, later ones are taken as written.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import register_dataclass, tree_leaves, tree_map_only

from core import distributed, graphs
from data.types import Batch
from data.warp import Warp
from engine.training.optimizers import heeds_found_inf
from engine.training.step import StepInputs, TrainingStep
from engine.training.tensor_lists import copy_each

MOST = 8  # patterns that are prepared: each takes memory, and the time of some steps

register_dataclass(Warp)  # its tensors are inputs


class PreparedSteps:
    """Takes the steps of a run as `step` does, by what is prepared for the pattern of each."""

    def __init__(self, step: TrainingStep):
        self.step = step
        self._prepared: dict[Hashable, Callable[[StepInputs], dict[str, Tensor]]] = {}

    def prepare(
        self, batch: Batch, teacher_forcing: Sequence[bool], inputs: Callable[[], StepInputs]
    ) -> bool:
        """Prepare for steps on such batches; return whether there was anything to do.

        It takes as long as many steps, and changes nothing. inputs: those of a step, of any noise.
        """
        device = self.step.compute.device
        if not (self.step.compute.compiled or graphs.can_record(device)):
            return False
        kind = _kind(batch, teacher_forcing)
        if kind in self._prepared or len(self._prepared) == MOST:
            return False
        self._prepared[kind] = self._as_written(teacher_forcing)
        if not (self._can_record and all(map(torch.is_tensor, _leaves(batch)))):
            self.step(inputs(), teacher_forcing, has_effect=False)  # compiles
            return True
        try:
            self._prepared[kind] = RecordedStep(self.step, inputs(), teacher_forcing)
        except RuntimeError as error:  # of CUDA, out of memory among them
            reason = str(error).splitlines()[0]
            print(f"steps run as written: they could not be recorded as a CUDA graph ({reason})")
        return True

    def __call__(self, inputs: StepInputs, teacher_forcing: Sequence[bool]) -> dict[str, Tensor]:
        """Take a step."""
        prepared = self._prepared and self._prepared.get(_kind(inputs.batch, teacher_forcing))
        return (prepared or self._as_written(teacher_forcing))(inputs)

    @property
    def recorded(self) -> int:
        """How many patterns have a graph."""
        return sum(isinstance(step, RecordedStep) for step in self._prepared.values())

    @property
    def _can_record(self) -> bool:
        """Tell whether all of a step is work of one process on one device, and never waits."""
        device, buffer = self.step.compute.device, self.step.prediction_buffer
        return (
            graphs.can_record(device)
            and distributed.world_size() == 1
            and heeds_found_inf(self.step.optimizer)
            and all(torch.is_tensor(group["lr"]) for group in self.step.optimizer.param_groups)
            and (buffer is None or buffer.frames.device.type == device.type)
        )

    def _as_written(self, teacher_forcing: Sequence[bool]) -> Callable:
        return lambda inputs: self.step(inputs, teacher_forcing)


class RecordedStep:
    """The steps of one pattern of teacher forcing as a graph."""

    def __init__(self, step: TrainingStep, inputs: StepInputs, teacher_forcing: Sequence[bool]):
        self._device = step.compute.device
        self._inputs = tree_map_only(Tensor, Tensor.clone, self._with_tensors(inputs))
        self._names: list[str] = []

        def take(has_effect: bool = True) -> Tensor:
            metrics = step(self._inputs, teacher_forcing, has_effect)
            self._names = list(metrics)
            return torch.stack(list(metrics.values()))

        def warm_up() -> None:
            take(has_effect=False)
            step.optimizer.zero_grad()  # those of the recording lie in the memory of the graph

        self._replay = graphs.record(take, self._device, warm_up)

    def __call__(self, inputs: StepInputs) -> dict[str, Tensor]:
        """Take a step with inputs of the kind of the recorded ones."""
        copy_each(_leaves(self._inputs), _leaves(self._with_tensors(inputs)))
        metrics = self._replay().clone()  # the next step overwrites them
        return dict(zip(self._names, metrics.unbind()))

    def _with_tensors(self, inputs: StepInputs) -> StepInputs:
        if torch.is_tensor(inputs.kl_beta):
            return inputs
        return inputs._replace(kl_beta=torch.full((), inputs.kl_beta, device=self._device))


def _kind(batch: Batch, teacher_forcing: Sequence[bool]) -> Hashable:
    """Return what steps must have in common to be prepared for as one."""
    leaves = _leaves(batch)
    shapes = [(x.shape, x.dtype) if torch.is_tensor(x) else type(x) for x in leaves]
    return tuple(teacher_forcing), *shapes


def _leaves(inputs: Any) -> list:
    """Return the tensors of inputs, in a fixed order, and whatever else may hold some."""
    return [x for x in tree_leaves(inputs) if x is not None]
