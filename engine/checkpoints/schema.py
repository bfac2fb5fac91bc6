"""Is what a checkpoint file holds what a run stores? Asked before anything of it is used."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

DEEPEST = 4  # tables and lists within each other in settings


def check_weights(content: Any) -> None:
    """Raise ValueError where there is no `state_dict` of finite weights, by name."""
    weights = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(weights, dict) or not all(map(torch.is_tensor, weights.values())):
        raise ValueError("it has no state_dict of weights")
    if not all(isinstance(name, str) for name in [*content, *weights]):
        raise ValueError("an entry without a name")
    for tensor in _tensors(content):
        if tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.is_quantized:
            raise ValueError(f"it holds a {tensor.layout} tensor on {tensor.device}")
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise ValueError(f"a tensor claims {tensor.numel()} values and stores fewer")
    for name, weight in weights.items():
        if not is_finite(weight):
            raise ValueError(f"{name} is not finite: its training had diverged")


def check_run(content: dict) -> None:
    """Raise ValueError where an entry is not what a run of ours stores there."""
    for name, (is_right, required) in _ENTRIES.items():
        if name not in content and not required:
            continue
        if not is_right(content.get(name)):
            raise ValueError(f"its {name} is not what a run stores")


def is_finite(tensor: Tensor) -> bool:
    """Tell whether all values are, in float32, in which models compute."""
    return tensor.is_complex() or bool(tensor.float().isfinite().all())


def is_number(value: Any, low: float = -math.inf, high: float = math.inf) -> bool:
    """Tell whether this is a plain number in [low, high]; NaN is not."""
    return isinstance(value, int | float) and low <= value <= high


def _is_counter(low: int) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int) and low <= value < 2**53


def _is_plain(value: Any, depth: int = DEEPEST) -> bool:
    """Tell whether JSON could hold this."""
    if isinstance(value, dict):
        inside = value.values() if all(isinstance(key, str) for key in value) else [...]
    else:
        inside = value if isinstance(value, list) else None
    if inside is None:
        return value is None or isinstance(value, str | bool | int | float)
    return depth > 0 and all(_is_plain(item, depth - 1) for item in inside)


def _is_table(value: Any) -> bool:
    return isinstance(value, dict) and _is_plain(value)


def _is_best(value: Any) -> bool:
    if value is None:
        return True
    return (
        _is_table(value)
        and isinstance(value.get("set"), str)
        and isinstance(value.get("holdout"), list)
        and is_number(value.get("psnr"))
        and is_number(value.get("loss", 0.0))
        and _is_counter(-1)(value.get("epoch"))
    )


def _is_begun_epoch(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and value.keys() == {"batches", "frames", "forced", "seconds", "scheduled", "metrics"}
        and all(_is_counter(1)(value[name]) for name in ("batches", "frames"))
        and is_number(value["forced"], 0, 2**53)
        and is_number(value["seconds"], 1e-9, 1e12)
        and _is_named(value["scheduled"], is_number)
        and _is_named(value["metrics"], _is_scalar)
        and "skipped" in value["metrics"]
    )


def _is_named(value: Any, is_right: Callable[[Any], bool]) -> bool:
    """Tell whether this is a dict with names and values of one kind."""
    return isinstance(value, dict) and all(
        isinstance(name, str) and is_right(item) for name, item in value.items()
    )


def _is_scalar(value: Any) -> bool:
    return torch.is_tensor(value) and value.ndim == 0 and value.is_floating_point()


def _is_pictures(value: Any) -> bool:
    return torch.is_tensor(value) and value.ndim == 4 and value.dtype == torch.uint8


_ENTRIES: dict[str, tuple[Callable[[Any], bool], bool]] = {  # and whether it must be there
    "optimizer": (lambda value: isinstance(value, dict), True),
    "lr": (lambda value: is_number(value, 0, 1e30), True),
    "tfr": (lambda value: is_number(value, 0, 1), True),
    "last_epoch": (_is_counter(-1), True),
    "step": (_is_counter(0), True),
    "seconds": (lambda value: is_number(value, 0, 1e12), False),
    "threads": (lambda value: isinstance(value, int) and 1 <= value <= 1024, False),
    "best": (_is_best, True),
    "settings": (_is_table, True),
    "fingerprint": (_is_table, False),
    "epoch_metrics": (_is_begun_epoch, False),
    "prediction_buffer": (_is_pictures, False),
    "frames_version": (_is_counter(0), False),
    "data": (lambda value: isinstance(value, str) and len(value) < 1000, False),
}


def _tensors(content: Any) -> Iterator[Tensor]:
    """Yield every tensor inside; a list may hold itself, so places are visited once."""
    waiting, seen = [content], set()
    while waiting:
        value = waiting.pop()
        if torch.is_tensor(value):
            yield value
        elif isinstance(value, dict | list | tuple | set) and id(value) not in seen:
            seen.add(id(value))
            waiting += [*value, *value.values()] if isinstance(value, dict) else value
