"""Checkpoint files: the lab's keys, plus what an exact continuation needs.

A file is a dict of plain types and tensors: `state_dict` (the weights to predict with),
`optimizer`, `lr`, `tfr`, `last_epoch` as in the lab; ours add `format`, `model`, `settings`,
`step` and `best`. Files are always read with `weights_only=True`, so nothing in them runs.
"""

import pickle
import re
import zipfile
from pathlib import Path

import torch

from engine.errors import UserError
from engine.files import replacing

FORMAT = "conditional-video-vae 1"
LAB_KEYS = ("state_dict", "optimizer", "lr", "tfr", "last_epoch")
BEST, LAST = "best.ckpt", "last.ckpt"


def save(path: Path, content: dict) -> None:
    """Write a checkpoint whole or not at all."""
    with replacing(path) as file:
        torch.save(content, file)


def load(path: Path) -> dict:
    """Read a checkpoint onto the CPU. Raises UserError for what is not a whole checkpoint."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{path}: no such checkpoint") from None
    except (
        OSError,
        RuntimeError,
        EOFError,
        ValueError,
        LookupError,
        AttributeError,
        TypeError,
        pickle.UnpicklingError,
        zipfile.BadZipFile,
    ) as error:
        reason = str(error).split("\n")[0][:200]
        raise UserError(f"{path} is not a whole checkpoint, or holds code ({reason})") from None
    weights = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(weights, dict) or not all(torch.is_tensor(v) for v in weights.values()):
        raise UserError(f"{path} is not a checkpoint: it has no state_dict of weights")
    return content


def is_ours(content: dict) -> bool:
    """Tell a checkpoint written here from one of another implementation of the lab."""
    return content.get("format") == FORMAT


def resolve(path: str, *, prefer: str) -> Path:
    """Return the file itself, or for a run folder the file `prefer`, else its newest epoch=N."""
    place = Path(path)
    if not place.is_dir():
        return place
    if (place / prefer).exists():
        return place / prefer
    epochs = {
        int(match.group(1)): file
        for file in place.glob("epoch=*.ckpt")
        if (match := re.fullmatch(r"epoch=(\d+)", file.stem))
    }
    if not epochs:
        raise UserError(f"--ckpt_path {path}: no {prefer} or epoch=N.ckpt in this folder")
    return epochs[max(epochs)]


def load_weights(module: torch.nn.Module, content: dict, path: Path) -> None:
    """Put the weights of a checkpoint into a module, strictly. Raises UserError if they differ."""
    try:
        module.load_state_dict(content["state_dict"], strict=True)
    except RuntimeError as error:
        lines = str(error).splitlines()
        detail = "; ".join(line.strip() for line in lines[1:4])
        raise UserError(f"{path} does not fit this model: {detail}") from None


def export_lab(content: dict, path: Path) -> None:
    """Write the checkpoint with the lab's five entries only, as other implementations load it."""
    missing = [key for key in LAB_KEYS if key not in content]
    if missing:
        raise UserError(f"the checkpoint has no {', '.join(missing)}, which the lab's code reads")
    try:
        save(path, {key: content[key] for key in LAB_KEYS})
    except OSError as error:
        raise UserError(f"--export_lab {path}: {error.strerror}") from None
