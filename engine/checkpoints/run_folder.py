"""The folder of a run: one run at a time, going on where it stands, earlier runs set aside."""

import contextlib
import json
import os
import re
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
RUN_FILES = {METRICS_FILE, SETTINGS_FILE, "wandb", "wandb.json", "tensorboard"}
_CHECKPOINT = re.compile(r"(epoch=\d+|best|last(-\d+)?)\.ckpt")
_GIF = re.compile(r"(.+?)(_epoch=\d+)?\.gif")


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
def open_run_folder(
    folder: Path, settings: dict, *, continued_from: Path | None, source: Path | None = None
) -> Iterator[Callable[[], None]]:
    """Make the run folder ready, write the settings into it and keep other runs out meanwhile.

    Files of an earlier run there, unless it is the one continued, move to `previous-DATE/`; the
    `source` of a warm start stays as well. All of this in the first process of the run alone.
    Yields what raises UserError once the folder is no longer the run's own. Raises UserError where
    another run trains in it, or where it cannot be written.
    """
    if not distributed.is_main():
        yield lambda: None
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
            set_aside(folder, source)
        elif (folder / METRICS_FILE).exists():
            read_log(folder / METRICS_FILE)  # refused here, before anything is written
        with atomic_write(folder / SETTINGS_FILE) as file:
            file.write(json.dumps(settings, indent=2).encode())
        check_folder = _lock_watch(folder)
    except Timeout:
        raise UserError(
            f"--save_root {folder}: another run is training there; wait for it, or choose another"
        ) from None
    except OSError as error:
        lock.release()
        raise UserError(f"--save_root {folder}: {why(error)}") from None
    except BaseException:
        lock.release()
        raise
    try:
        yield check_folder
    finally:
        lock.release()


def _lock_watch(folder: Path) -> Callable[[], None]:
    """Return what raises UserError where another lock lies in the place of the one held, or none.

    The folder was removed or moved away then, and another run may have begun in its place.
    """
    held = (folder / LOCK_FILE).stat()

    def check() -> None:
        try:
            found = (folder / LOCK_FILE).lstat()
        except OSError:
            found = None
        if found is None or not os.path.samestat(held, found):
            raise UserError(
                f"--save_root {folder}: removed, or taken over by another run, while this one "
                f"trained there ({LOCK_FILE} is not the one it made); it ends and writes no more"
            )

    return check


def set_aside(folder: Path, source: Path | None = None) -> None:
    """Move the files of an earlier run into a dated folder beside the new ones.

    The source of the new run stays where it was named, and is in that folder too.
    """
    found = [path for path in folder.iterdir() if _is_of_run(path, _logged_sets(folder))]
    if not any(path.suffix == ".ckpt" or path.name == METRICS_FILE for path in found):
        return  # killed before it had anything to lose
    target = folder / f"previous-{datetime.now():%Y%m%d-%H%M%S-%f}"
    target.mkdir()
    # Checkpoints first: were this cut short, what is left would not be taken for a run to resume.
    # The log last: while it is there, so is what to move with it.
    for path in sorted(found, key=lambda path: (path.name == METRICS_FILE, path.suffix != ".ckpt")):
        if source is not None and os.path.realpath(path) == os.path.realpath(source):
            shutil.copy2(path, target / path.name)
        else:
            shutil.move(path, target / path.name)
    print(f"an earlier run's files moved to {target}")


def _is_of_run(path: Path, sets: set[str]) -> bool:
    """Tell whether a training run writes files of this name; sets: those it was validated on."""
    if path.name in RUN_FILES or _CHECKPOINT.fullmatch(path.name):
        return True
    gif = _GIF.fullmatch(path.name)
    return gif is not None and gif[1] in sets


def _logged_sets(folder: Path) -> set[str]:
    """Return the names of the sets that the log in a folder has scores of."""
    try:
        with open_regular(folder / METRICS_FILE) as file:
            names = file.readline(1 << 16).decode(errors="replace").strip().split(",")
    except OSError:
        return set()
    return {name.removesuffix("_psnr") for name in names if name.endswith("_psnr")}
