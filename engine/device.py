"""Choosing the device."""

import torch

from engine.errors import UserError


def choose_device(name: str) -> torch.device:
    """Return the device of `--device`: auto takes CUDA, then MPS, then the CPU.

    Raises UserError where the device is unknown or not on this machine.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"--device {name}: expected auto, cpu, cuda, cuda:N or mps") from None
    available = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not available.get(device.type, False):
        raise UserError(f"--device {name}: not on this machine; --device auto takes what is here")
    return device
