"""Steps whose loss or gradient is not finite are left without effect, and counted."""

import torch
from torch import Tensor, nn

from engine.training.optimizers import heeds_found_inf
from engine.training.tensor_lists import copy_each, where_each

LIMIT = 20  # such steps in a row, after which training has diverged and stops


class NonFiniteGuard:
    """Takes the optimizer's steps, but for those that would spoil the weights.

    With the fused optimizers, and with Muon on a GPU, nothing is read back from the device: where a
    step is not finite, they leave weights and state alone by the flag that gradient scaling uses.
    The buffers (the running statistics of BatchNorm) are put back.
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer):
        self.model = model
        self.optimizer = optimizer
        device = next(model.parameters()).device
        self.skipped_in_a_row = torch.zeros((), device=device)  # in one place: graphs write there
        self.asked = 0  # how often a step was counted; by the host, and so not those of a graph
        self._buffers: list[Tensor] = []

    def remember(self) -> None:
        """Note the buffers as they are before the forward pass."""
        buffers = list(self.model.buffers())
        if not self._buffers:
            self._buffers = [torch.empty_like(buffer) for buffer in buffers]
        copy_each(self._buffers, buffers)

    def step(self, finite: Tensor, *, counted: bool = True) -> None:
        """Take the optimizer's step where `finite`, a boolean scalar on the device, is set.

        counted: a step that is not taken counts as one that was skipped.
        """
        skipped = (~finite).float()
        if heeds_found_inf(self.optimizer):
            self.optimizer.found_inf = skipped
            self.optimizer.step()
        elif bool(finite):  # on a CPU, or RMSprop, which knows no such flag: the host waits
            self.optimizer.step()
        self.put_back_unless(finite)
        if counted:
            self.count(skipped)

    def count(self, skipped: Tensor) -> None:
        """Count a step that was skipped, or one that was not: a scalar, 1 or 0."""
        self.asked += 1
        self.skipped_in_a_row.add_(skipped.float()).mul_(skipped.float())

    def put_back_unless(self, finite: Tensor) -> None:
        """Put the buffers back as they were noted, unless `finite` is set."""
        buffers = list(self.model.buffers())
        copy_each(buffers, where_each(finite, buffers, self._buffers))

    @property
    def diverging(self) -> bool:
        """True where the latest step was skipped; reads the counter off the device."""
        return float(self.skipped_in_a_row) > 0

    @property
    def diverged(self) -> bool:
        """True after `LIMIT` skipped steps in a row; reads the counter off the device."""
        return float(self.skipped_in_a_row) >= LIMIT
