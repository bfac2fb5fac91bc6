"""The folder of a run: its settings, and room made for it where an earlier run stands."""

import json
import shutil
from argparse import Namespace
from datetime import datetime
from pathlib import Path

from engine.config import as_plain
from engine.errors import UserError
from engine.files import replacing
from engine.tracking import METRICS_FILE

SETTINGS_FILE = "settings.json"
RUN_FILES = (METRICS_FILE, SETTINGS_FILE, "*.ckpt", "*.gif", "wandb")


def open_run_folder(settings: Namespace, *, continued_from: Path | None) -> Path:
    """Make the run folder ready and write the settings into it; return it.

    Files of an earlier run there, unless it is the one continued, move to `previous-DATE/`.
    """
    folder = Path(settings.save_root)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        continues_here = continued_from is not None and (
            continued_from.resolve().parent == folder.resolve()
        )
        if not continues_here:
            set_aside(folder)
        with replacing(folder / SETTINGS_FILE) as file:
            file.write(json.dumps(as_plain(settings), indent=2).encode())
    except OSError as error:
        raise UserError(f"--save_root {folder}: {error.strerror} ({error.filename})") from None
    return folder


def set_aside(folder: Path) -> None:
    """Move the files of an earlier run into a dated folder beside the new ones."""
    earlier = [path for pattern in RUN_FILES for path in folder.glob(pattern)]
    if not earlier:
        return
    target = folder / f"previous-{datetime.now():%Y%m%d-%H%M%S-%f}"
    target.mkdir()
    for path in earlier:
        shutil.move(path, target / path.name)
    print(f"an earlier run's files moved to {target}")
