"""The folder of a test's results: those of one checkpoint, named in it, or none."""

import hashlib
import json
from pathlib import Path

import torch

from core.errors import UserError, why
from core.files import atomic_write, open_regular, parse_json, remove_leftovers
from engine.checkpoints.checkpoint import Checkpoint

SOURCE_FILE = "source.json"  # which checkpoint the results are of, and whether they are all there
RESULT_FILES = (
    *("pred_seq*.gif", "pose_pred_seq*.gif", "strip_seq*.png", "submission.csv"),
    *("scores.csv", "summary.csv", "drift.csv", "scores.png"),
    *("rollout_seq*.npz", "report.html", "samples_seq*.gif", "steps.csv", "sequences.csv"),
    *("pred_seq*.mp4", "pose_pred_seq*.mp4", "samples_seq*.mp4"),
)


def open_results_folder(folder: Path, checkpoint: Checkpoint, *, overwrite: bool) -> None:
    """Make a folder ready for what is predicted with a checkpoint, and note there which it is.

    Results of the same weights are replaced. Raises UserError where the folder holds others,
    unless `overwrite`, which removes them first: whatever lies there is always of the checkpoint
    that `source.json` names, wherever this is cut short.
    """
    paths = ", ".join(str(one.path.resolve()) for one in checkpoint.every)
    source = {"checkpoint": paths, "weights": _digest(checkpoint)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder)
        before = read_source(folder)
        found = [file for pattern in RESULT_FILES for file in folder.glob(pattern)]
        if found and before.get("weights") != source["weights"]:
            if not overwrite:
                of = Path(str(before.get("checkpoint", "another run"))).name
                raise UserError(
                    f"--save_root {folder} holds {found[0].name} and more of another checkpoint "
                    f"({of}): choose another folder, or --overwrite"
                )
            if before:
                _write_source(folder, before | {"finished": False})
            for file in found:
                file.unlink()
        _write_source(folder, source | {"finished": False})
    except OSError as error:
        raise UserError(f"--save_root {folder}: {why(error)}") from None


def finish_results(folder: Path) -> None:
    """Note that all results of a test are written."""
    _write_source(folder, read_source(folder) | {"finished": True})


def read_source(folder: Path) -> dict:
    """Return what is noted of the results in a folder, {} where nothing is.

    `checkpoint`: its path; `weights`: their digest; `finished`: False while results are missing.
    """
    try:
        with open_regular(folder / SOURCE_FILE) as file:
            source = parse_json(file.read())
    except (OSError, ValueError):
        return {}
    return source if isinstance(source, dict) else {}


def _write_source(folder: Path, source: dict) -> None:
    with atomic_write(folder / SOURCE_FILE) as file:
        file.write(json.dumps(source, indent=2).encode())


def _digest(checkpoint: Checkpoint) -> str:
    """Return what tells the weights of one checkpoint, or of several, from those of another."""
    digest = hashlib.sha256()
    for one in checkpoint.every:
        for name, weight in sorted(one.content["state_dict"].items()):
            digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}\n".encode())
            digest.update(weight.contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()[:16]
