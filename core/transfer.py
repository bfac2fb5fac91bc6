"""From the host to a device, without waiting for it."""

import torch
from torch import Tensor


def send(values: Tensor, device: torch.device | str) -> Tensor:
    """Return the values on a device.

    To a GPU they are copied from pinned memory, while the host goes on.
    """
    if torch.device(device).type == "cuda" and values.device.type == "cpu":
        values = values.pin_memory()
    return values.to(device, non_blocking=True)
