"""The folder of a run: one run at a time, going on where it stands, earlier runs set aside."""

import contextlib
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from core import distributed
from core.errors import UserError, why
from core.files import atomic_write, open_regular, remove_leftovers
from engine.checkpoints import checkpoint
from engine.checkpoints.checkpoint import Checkpoint
from engine.output.tracker import METRICS_FILE, read_log
from settings.fingerprint import differences
from settings.resolve import Settings

SETTINGS_FILE = "settings.json"
LOCK_FILE = ".lock"
SOURCE_FILE = "source.json"  # in a folder of results: which run they are of
RESULT_FILES = (
    *("pred_seq*.gif", "pose_pred_seq*.gif", "strip_seq*.png", "submission.csv"),
    *("scores.csv", "summary.csv", "drift.csv", "scores.png", SOURCE_FILE),
    *("rollout_seq*.npz", "report.html", "samples_seq*.gif", "steps.csv", "sequences.csv"),
    *("pred_seq*.mp4", "pose_pred_seq*.mp4", "samples_seq*.mp4"),
)
RUN_FILES = (METRICS_FILE, SETTINGS_FILE, "*.ckpt", "*.gif", "wandb", "wandb.json", "tensorboard")


def resume_point(settings: Settings, fingerprint: Callable[[], dict]) -> Checkpoint | None:
    """Return the checkpoint with which the same command goes on in its folder, or None.

    None too where the folder's run had another fingerprint; says what differs. With
    `--resume never`, always None. The fingerprint is asked for where there is one to compare with.
    """
    folder = Path(settings.save_root)
    if settings.resume == "never" or not checkpoint.candidates(folder):
        return None
    try:
        found = checkpoint.find(str(folder), prefer=checkpoint.LAST)
    except UserError as error:
        print(f"{error}; beginning anew")
        return None
    stored = found.content.get("fingerprint")
    if not stored or not found.is_ours:
        return None  # not a run of this Trainer, and nothing to compare with
    if differs := differences(stored, fingerprint()):
        if settings.ckpt_path is None:
            print(f"{folder} holds a run with other settings: {'; '.join(differs)}")
        return None
    return found


@contextlib.contextmanager
def open_run_folder(folder: Path, settings: dict, *, continued_from: Path | None) -> Iterator[Path]:
    """Make the run folder ready, write the settings into it and keep other runs out meanwhile.

    Files of an earlier run there, unless it is the one continued, move to `previous-DATE/`.
    All of this in the first process of the run alone. Raises UserError where another run trains
    in it, or where it cannot be written.
    """
    if not distributed.is_main():
        yield folder
        return
    if (folder / LOCK_FILE).is_symlink():
        raise UserError(f"--save_root {folder}: {LOCK_FILE} is a link; remove it")
    lock = FileLock(folder / LOCK_FILE, timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
        remove_leftovers(folder)
        continues_here = continued_from is not None and (
            continued_from.resolve().parent == folder.resolve()
        )
        if not continues_here:
            set_aside(folder)
        elif (folder / METRICS_FILE).exists():
            read_log(folder / METRICS_FILE)  # refused here, before anything is written
        with atomic_write(folder / SETTINGS_FILE) as file:
            file.write(json.dumps(settings, indent=2).encode())
    except Timeout:
        raise UserError(
            f"--save_root {folder}: another run is training there; wait for it, or choose another"
        ) from None
    except OSError as error:
        lock.release()
        raise UserError(f"--save_root {folder}: {why(error)}") from None
    except UserError:
        lock.release()
        raise
    try:
        yield folder
    finally:
        lock.release()


def set_aside(folder: Path) -> None:
    """Move the files of an earlier run into a dated folder beside the new ones."""
    found = [path for pattern in RUN_FILES for path in folder.glob(pattern)]
    if not any(path.suffix == ".ckpt" or path.name == METRICS_FILE for path in found):
        return  # killed before it had anything to lose
    target = folder / f"previous-{datetime.now():%Y%m%d-%H%M%S-%f}"
    target.mkdir()
    # Checkpoints first: were this cut short, what is left would not be taken for a run to resume.
    for path in sorted(found, key=lambda path: path.suffix != ".ckpt"):
        shutil.move(path, target / path.name)
    print(f"an earlier run's files moved to {target}")


def open_results_folder(folder: Path, checkpoint: Checkpoint, *, overwrite: bool) -> None:
    """Make a folder ready for what is predicted with a checkpoint, and note there which it is.

    A later checkpoint of the same run replaces the results of an earlier one. Raises UserError
    where the folder holds those of another run, unless `overwrite`, which removes them.
    """
    source = {"checkpoint": str(checkpoint.path.resolve()), "run": _run_digest(checkpoint)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder)
        found = [file for pattern in RESULT_FILES for file in folder.glob(pattern)]
        if found and not _same_run(folder / SOURCE_FILE, source):
            if not overwrite:
                raise UserError(
                    f"--save_root {folder} holds {found[0].name} and more of another run: choose "
                    "another folder, or --overwrite"
                )
            for file in found:
                file.unlink()
        with atomic_write(folder / SOURCE_FILE) as file:
            file.write(json.dumps(source, indent=2).encode())
    except OSError as error:
        raise UserError(f"--save_root {folder}: {why(error)}") from None


def _run_digest(checkpoint: Checkpoint) -> str:
    """Return what is the same for all checkpoints of a run; of a lab file, for the file alone."""
    known = checkpoint.content.get("fingerprint") if checkpoint.is_ours else None
    text = json.dumps(known, sort_keys=True).encode() if known else checkpoint.path.read_bytes()
    return hashlib.sha256(text).hexdigest()[:16]


def _same_run(file: Path, source: dict) -> bool:
    try:
        with open_regular(file) as opened:
            return json.load(opened).get("run") == source["run"]
    except (OSError, ValueError, AttributeError, RecursionError):
        return False
