"""Weights with their settings as `.safetensors`, which holds no code and loads anywhere.

The weights are the tensors of the file; what else it says is JSON in its metadata: the settings
that make the model what it is, the best score of its run and how long that trained. No optimizer:
such a file begins a run (`--warm_start`) or is tested and played, it does not continue one.
"""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from core.files import atomic_write, open_regular

SUFFIX = ".safetensors"
LARGEST_ENTRY = 1 << 18  # characters of an entry of the metadata
# What a run stores besides, where a file says nothing of it: for `schema.check_run`.
WITHOUT_RUN = {"optimizer": {}, "lr": 0, "tfr": 0, "last_epoch": -1, "step": 0, "best": None}
ENTRIES = ("settings", "best", "last_epoch", "step", "seconds", "data")  # each as JSON


def is_safetensors(path: Path) -> bool:
    """Tell by its name whether this is such a file."""
    return path.suffix == SUFFIX


def write(path: Path, content: dict, *, left_out: Collection[str], data: str) -> None:
    """Write the weights of a checkpoint, whole or not at all.

    left_out: settings that say where and how a run was carried out, not what it computed.
    data: in words, what it was trained on.
    """
    settings = {k: v for k, v in content["settings"].items() if k not in left_out}
    stored = {**content, "settings": settings, "data": data}
    metadata = {name: json.dumps(stored[name]) for name in ENTRIES if name in stored}
    weights = {name: x.contiguous().clone() for name, x in content["state_dict"].items()}
    whole = save(weights, metadata | {"format": content["format"]})
    with atomic_write(path) as file:
        file.write(whole)


def read(path: Path) -> dict:
    """Return a file's weights and entries as a checkpoint's. Raises ValueError, OSError.

    Nothing is believed: what the entries hold is checked by `engine.checkpoints.schema`.
    """
    open_regular(path).close()  # of a pipe, safetensors would wait for the end
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(str(error)) from None
    content: dict[str, Any] = {"state_dict": {k: v.clone() for k, v in weights.items()}}
    if "format" in metadata:
        content["format"] = metadata["format"]
    for name in ENTRIES:
        if name in metadata:
            content[name] = _parsed(name, metadata[name])
    return content


def _parsed(name: str, text: str) -> Any:
    if len(text) > LARGEST_ENTRY:
        raise ValueError(f"its {name} is longer than {LARGEST_ENTRY} characters")
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise ValueError(f"its {name} is not JSON") from None


def _refuse_constant(word: str) -> None:
    raise ValueError(word)
