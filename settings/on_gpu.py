"""What a preset sets otherwise on a GPU: larger batches, and the rate that goes with them.

A GPU computes 64 windows in hardly more time than 16. By the usual rule for Adam, and for Muon,
whose steps are as large, k times the windows ask for √k times the rate.
"""

import math
from collections.abc import Collection


def is_gpu(device: str) -> bool:
    """Tell whether a value of --device means CUDA on this machine."""
    import torch  # not for what has no such preset

    return device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())


def fit_to_gpu(values: dict, batch: int, said: Collection[str]) -> None:
    """Set batch size, and rate by the rule, where neither flags nor a checkpoint have said them.

    Who says a batch size has said that the rate of the preset goes with it.
    """
    if "batch_size" in said or not is_gpu(values["device"]):
        return
    if "lr" not in said:
        values["lr"] = scaled(values["lr"], batch / values["batch_size"])
    values["batch_size"] = batch


def scaled(lr: float, times: float) -> float:
    """Return the rate for so many times the windows, to three digits."""
    return float(f"{lr * math.sqrt(times):.3g}")
