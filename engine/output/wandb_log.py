"""Weights & Biases; the only file that imports wandb, and only with `--wandb`."""

import json
import os
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path

from core.errors import UserError
from core.files import atomic_write, parse_json, printable, warn_on_write_error
from engine.evaluation.scoring import Scores

ID_FILE = "wandb.json"  # in the run folder: the id under which its wandb run continues
PROJECT = "conditional-video-vae"
GROUPS = ("train", "val", "schedule", "system")


def check_wandb(settings: dict) -> None:
    """Raise UserError for what wandb would not take: a mode, a key or an id. Writes nothing."""
    try:
        import wandb
    except ImportError:
        return
    try:
        mode = os.environ.get("WANDB_MODE")
        wandb.Settings(mode=mode or "online", run_id=settings["wandb_id"])
        if mode is None:
            wandb.login(prompt=False, verify=False)
    except (wandb.errors.Error, ValueError) as error:
        words = " ".join(str(error).split(" [type=")[0].split())[:200]
        raise UserError(
            f"--wandb: {words}; see WANDB_MODE, WANDB_API_KEY and --wandb_id, or leave --wandb out"
        ) from None


def open_wandb(folder: Path, settings: dict, artifacts: Sequence[str]) -> "WandbLog | None":
    """Start or continue the wandb run of a run folder; None where wandb is not installed.

    Offline where there is no login or no network. artifacts: names of files in the folder, sent
    at the end with `--wandb_artifacts`.
    """
    try:
        import wandb
    except ImportError:
        print("wandb is not installed (pip install wandb); continuing without", file=sys.stderr)
        return None
    mode = os.environ.get("WANDB_MODE")
    why = f"WANDB_MODE is {mode}"
    if mode is None:
        mode, why = "online", ""
        if not wandb.login(prompt=False, verify=False):
            mode, why = "offline", "no login (wandb login)"
    arguments = {
        "project": PROJECT,
        "name": printable(folder.resolve().name),
        "dir": str(folder),
        "config": settings,
        "id": _run_id(folder, settings["wandb_id"]),
        "resume": "allow",
        "job_type": "train",
        "tags": [str(settings[name]) for name in ("preset", "kl_anneal_type") if name in settings],
    }
    if mode == "offline":
        print(f"wandb runs offline: {why}", file=sys.stderr)
    try:
        run = wandb.init(mode=mode, **arguments)
    except wandb.errors.CommError as error:
        print(f"wandb runs offline: no connection ({error})", file=sys.stderr)
        run = wandb.init(mode="offline", **arguments)
    return WandbLog(run, folder, artifacts if settings["wandb_artifacts"] else ())


def _run_id(folder: Path, wanted: str | None) -> str:
    """Return the id asked for, else that of the folder's run, else a new one; and keep it."""
    file = folder / ID_FILE
    try:
        known = parse_json(file.read_text())["id"]
    except (OSError, ValueError, TypeError, KeyError):
        known = None
    chosen = wanted or (known if isinstance(known, str) else None) or secrets.token_hex(4)
    if chosen != known:
        with warn_on_write_error(file.name), atomic_write(file) as output:
            output.write(json.dumps({"id": chosen}).encode())
    return chosen


class WandbLog:
    """An open wandb run: figures by epoch in groups, GIFs and scores by frame as media."""

    def __init__(self, run, folder: Path, artifacts: Sequence[str]):
        self._run, self._folder, self._artifacts = run, folder, artifacts
        run.define_metric("epoch")
        for group in GROUPS:
            run.define_metric(f"{group}/*", step_metric="epoch")

    def log(
        self, epoch: int, figures: dict[str, float], gifs: dict[str, Path], scores: dict[str, list]
    ) -> None:
        """Record an epoch; names come with their group, such as `train/loss`."""
        import wandb

        media = {f"val/{name}": wandb.Video(str(p), format="gif") for name, p in gifs.items()}
        tables = {
            f"val/{name}_by_frame": wandb.Table(dataframe=_by_frame(clips))
            for name, clips in scores.items()
        }
        self._run.log({"epoch": epoch} | figures | media | tables, step=epoch)

    def close(self) -> None:
        """Send the artifacts, end the run, and say how to sync it."""
        self._send_artifacts()
        offline, place = self._run.offline, Path(self._run.dir).parent
        self._run.finish()
        if offline:
            print(f"wandb: to send this run, `wandb login`, then `wandb sync {place}`")

    def _send_artifacts(self) -> None:
        import wandb

        for name in self._artifacts:
            path = self._folder / name
            if path.exists():
                artifact = wandb.Artifact(f"{self._run.id}-{path.stem}", type="model")
                artifact.add_file(str(path))
                self._run.log_artifact(artifact, aliases=[path.stem])


def _by_frame(clips: list[Scores]):
    import pandas as pd

    return pd.concat([clip.table() for clip in clips])
