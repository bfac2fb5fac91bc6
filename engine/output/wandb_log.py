"""Weights & Biases; the only file that imports wandb, and only with `--wandb`."""

import json
import os
import secrets
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from core.errors import UserError
from core.files import atomic_write, parse_json, printable, warn_on_write_error

ID_FILE = "wandb.json"  # in the run folder: the id under which its wandb run continues
PROJECT = "conditional-video-vae"
NO_ID = frozenset("/\\#?%:")  # what no id may hold
GROUPS = ("train", "val", "schedule", "system")
SECONDS_PER_POINT = 10.0  # between the steps of an epoch that are recorded
LINES = 8  # in a chart of scores by frame; of more clips, their mean


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
    if not _is_installed():
        return None
    tags = [str(settings[name]) for name in ("preset", "kl_anneal_type") if name in settings]
    run = _begin(
        folder,
        name=printable(folder.resolve().name),
        config=settings,
        id=_run_id(folder, settings["wandb_id"]),
        job_type="train",
        tags=tags,
    )
    return WandbLog(run, folder, artifacts if settings["wandb_artifacts"] else ())


def _is_installed() -> bool:
    try:
        import wandb  # noqa: F401
    except ImportError:
        print("wandb is not installed (pip install wandb); continuing without", file=sys.stderr)
        return False
    return True


def _begin(folder: Path, **arguments):
    """Start or continue a wandb run whose files lie in a folder."""
    import wandb

    mode = os.environ.get("WANDB_MODE")
    why = f"WANDB_MODE is {mode}"
    if mode is None:
        mode, why = "online", ""
        if not wandb.login(prompt=False, verify=False):
            mode, why = "offline", "no login (wandb login)"
    arguments |= {"project": PROJECT, "dir": str(folder), "resume": "allow"}
    if mode == "offline":
        print(f"wandb runs offline: {why}", file=sys.stderr)
    try:
        return wandb.init(mode=mode, **arguments)
    except wandb.errors.CommError as error:
        print(f"wandb runs offline: no connection ({error})", file=sys.stderr)
        return wandb.init(mode="offline", **arguments)


def known_run(folder: Path) -> str | None:
    """Return the id of the wandb run of a run folder, None where it has none that wandb takes."""
    try:
        known = parse_json((folder / ID_FILE).read_text())["id"]
    except (OSError, ValueError, TypeError, KeyError):
        return None
    is_one = isinstance(known, str) and 0 < len(known) <= 128 and NO_ID.isdisjoint(known)
    return known if is_one else None


def _run_id(folder: Path, wanted: str | None) -> str:
    """Return the id asked for, else that of the folder's run, else a new one; and keep it."""
    file, known = folder / ID_FILE, known_run(folder)
    chosen = wanted or known or secrets.token_hex(4)
    if chosen != known:
        with warn_on_write_error(file.name), atomic_write(file) as output:
            output.write(json.dumps({"id": chosen}).encode())
    return chosen


class WandbLog:
    """An open wandb run: figures by epoch and within one, GIFs and scores by frame as media."""

    def __init__(self, run, folder: Path, artifacts: Sequence[str]):
        self._run, self._folder, self._artifacts = run, folder, artifacts
        self._next_point = 0.0  # when a step is recorded again
        run.define_metric("epoch")
        for group in GROUPS:
            run.define_metric(f"{group}/*", step_metric="epoch")
        run.define_metric("within/seconds")
        run.define_metric("within/*", step_metric="within/seconds")

    def log_step(self, step: int, seconds: float, figures: Mapping[str, Any]) -> None:
        """Record a step by the seconds trained so far, if the last one is long enough ago."""
        if (now := time.monotonic()) < self._next_point:
            return
        self._next_point = now + SECONDS_PER_POINT
        values = {f"within/{name}": float(value) for name, value in figures.items()}
        self._run.log({"within/seconds": seconds, "within/step": step} | values, step=step)

    def log(
        self, epoch: int, figures: dict[str, float], gifs: dict[str, Path], scores: dict[str, list]
    ) -> None:
        """Record an epoch; names come with their group, such as `train/loss`."""
        import wandb

        media = {f"val/{name}": wandb.Video(str(p), format="gif") for name, p in gifs.items()}
        for name, clips in scores.items():
            table = pd.concat([clip.table() for clip in clips])
            media[f"val/{name}_by_frame"] = wandb.Table(dataframe=table)
            media[f"val/{name}_psnr_by_frame"] = _chart(_lines_by_sequence(table), name)
        self._run.log({"epoch": epoch} | figures | media, step=figures["train/step"])

    def close(self) -> None:
        """Send the artifacts, end the run, and say how to sync it."""
        self._send_artifacts()
        _finish(self._run)

    def _send_artifacts(self) -> None:
        import wandb

        for name in self._artifacts:
            path = self._folder / name
            if path.exists():
                artifact = wandb.Artifact(f"{self._run.id}-{path.stem}", type="model")
                artifact.add_file(str(path))
                self._run.log_artifact(artifact, aliases=[path.stem])


def _finish(run) -> None:
    offline, place = run.offline, Path(run.dir).parent
    run.finish()
    if offline:
        print(f"wandb: to send this run, `wandb login`, then `wandb sync {place}`")


# ---------------------------------------------------------------------- a test


def send_results(folder: Path, settings: Mapping[str, Any], run_folder: Path) -> None:
    """Send what a test left in a folder to the wandb run of the run folder it came from.

    Tables and what is in them, GIFs and figures, under `test/`, with `--split val` `test_val/`.
    Where that run has none and `--wandb_id` names none, to a new one, which the folder keeps.
    """
    if not _is_installed():
        return
    import wandb

    home = run_folder.resolve()
    known = settings["wandb_id"] or known_run(home)
    if known is None:
        print(f"{home.name} was trained without wandb: its test becomes a run of its own")
    named = {"name": printable((home if known else folder.resolve()).name)}
    run = _begin(folder, id=known or _run_id(folder, None), job_type="test", **named)
    prefix = "test" if settings["split"] == "test" else f"test_{settings['split']}"
    media: dict[str, Any] = {p.stem: wandb.Image(str(p)) for p in sorted(folder.glob("*.png"))}
    for path in sorted(folder.glob("*.gif")):
        media[path.stem] = wandb.Video(str(path), format="gif")
    for path in sorted(folder.glob("*.csv")):
        if path.name != "submission.csv":
            media[f"{path.stem}_table"] = wandb.Table(dataframe=pd.read_csv(path))
    if (path := folder / "scores.csv").exists():
        media["psnr_by_frame"] = _chart(_lines_by_sequence(pd.read_csv(path)), prefix)
    if (path := folder / "steps.csv").exists():
        media["psnr_by_frame"] = _chart(_lines_by_kind(pd.read_csv(path)), prefix)
    # After the end of the training: what comes with an earlier step is dropped.
    step = max(run.step, 1 + _last_step(home))
    media |= _figures_of(folder / "summary.csv")
    run.log({f"{prefix}/{name}": value for name, value in media.items()}, step=step)
    _finish(run)


def _last_step(run_folder: Path) -> int:
    try:
        return int(pd.read_csv(run_folder / "metrics.csv")["step"].iloc[-1])
    except (OSError, ValueError, LookupError):
        return 0


def _figures_of(summary: Path) -> dict[str, float]:
    """Return the cells of a table of scores by row and column, such as `mean_psnr`."""
    if not summary.exists():
        return {}
    table = pd.read_csv(summary, index_col=0)
    return {
        f"{row}_{column}".replace(" ", "_"): float(value)
        for row, values in table.iterrows()
        for column, value in values.items()
        if np.isfinite(value)
    }


# ---------------------------------------------------------------------- charts

Lines = dict[str, pd.Series]  # by what they are of; each by frame


def _lines_by_sequence(scores: pd.DataFrame) -> Lines:
    """Return the PSNR of each sequence, of many their mean, over that of copying a frame."""
    by_sequence = {str(name): of for name, of in scores.groupby("sequence", sort=False)}
    if len(by_sequence) > LINES:
        by_sequence = {f"mean of {len(by_sequence)}": scores}
    lines = {name: of.groupby("frame")["psnr"].mean() for name, of in by_sequence.items()}
    copied = next(n for n in scores if n.startswith("copy_") and n.endswith("_psnr"))
    words = copied.removesuffix("_psnr").replace("_", " ")
    return lines | {words: scores.groupby("frame")[copied].mean()}


def _lines_by_kind(steps: pd.DataFrame) -> Lines:
    """Return the mean PSNR of each of the kinds that samples are scored by."""
    of_psnr = steps[steps["metric"] == "psnr"]
    return {str(name): of.set_index("frame")["mean"] for name, of in of_psnr.groupby("of")}


def _chart(lines: Lines, title: str):
    """Return a line plot of PSNR by frame."""
    import wandb

    return wandb.plot.line_series(
        xs=[line.index.tolist() for line in lines.values()],
        ys=[line.tolist() for line in lines.values()],
        keys=list(lines),
        title=f"PSNR by frame (dB): {title}",
        xname="frame",
    )
