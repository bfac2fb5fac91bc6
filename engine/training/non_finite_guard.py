"""Steps whose loss or gradient is not finite are left without effect, and counted."""

import torch
from torch import Tensor, nn

LIMIT = 20  # such steps in a row, after which training has diverged and stops


class NonFiniteGuard:
    """Takes the optimizer's steps, but for those that would spoil the weights.

    With the fused optimizers nothing is read back from the device: where a step is not finite, they
    leave weights and state alone by the flag that gradient scaling uses. The buffers (the running
    statistics of BatchNorm) are put back.
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer):
        self.model = model
        self.optimizer = optimizer
        self.skipped_in_a_row: Tensor | int = 0
        self._buffers: list[Tensor] = []

    def remember(self) -> None:
        """Note the buffers as they are before the forward pass."""
        self._buffers = [buffer.clone() for buffer in self.model.buffers()]

    def step(self, finite: Tensor) -> None:
        """Take the optimizer's step where `finite`, a boolean scalar on the device, is set."""
        skipped = (~finite).float()
        if self.optimizer.defaults.get("fused"):
            self.optimizer.found_inf = skipped
            self.optimizer.step()
        elif bool(finite):  # RMSprop and Muon know no such flag: the host waits
            self.optimizer.step()
        self.put_back_unless(finite)
        self.count(skipped)

    def count(self, skipped: Tensor) -> None:
        """Count a step that was skipped, or one that was not: a scalar, 1 or 0."""
        self.skipped_in_a_row = (self.skipped_in_a_row + skipped.float()) * skipped.float()

    def put_back_unless(self, finite: Tensor) -> None:
        """Put the buffers back as they were noted, unless `finite` is set."""
        for buffer, before in zip(self.model.buffers(), self._buffers, strict=True):
            buffer.copy_(torch.where(finite, buffer, before))

    @property
    def diverging(self) -> bool:
        """True where the latest step was skipped; reads the counter off the device."""
        return float(self.skipped_in_a_row) > 0

    @property
    def diverged(self) -> bool:
        """True after `LIMIT` skipped steps in a row; reads the counter off the device."""
        return float(self.skipped_in_a_row) >= LIMIT
