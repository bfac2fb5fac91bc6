"""Checkpoint files: the lab's keys, plus what an exact continuation needs.

A file is a dict of plain types and tensors: `state_dict` (the weights to predict with),
`optimizer`, `lr`, `tfr`, `last_epoch` as in the lab (docs/lab.md, "Checkpoints"); ours add
`format`, `settings`, `fingerprint`, `step` and what else an exact continuation needs. Files are
always read with `weights_only=True`, so nothing in them runs, and the checksums of the container
are compared first.
"""

import re
import sys
import warnings
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import BinaryIO, NamedTuple

import torch

from core.errors import UserError, why
from core.files import atomic_write, open_regular
from engine.checkpoints import safetensors_file
from engine.checkpoints.schema import check_run, check_weights
from settings.resolve import check_values

FORMAT = "conditional-video-vae 1"
LAB_KEYS = ("state_dict", "optimizer", "lr", "tfr", "last_epoch")
BEST, LAST = "best.ckpt", "last.ckpt"
DEMO = "the demo's data"
FORMER_NAMES = {"identity": "fingerprint", "so_far": "epoch_metrics", "replay": "prediction_buffer"}


def best_score(best: dict) -> str:
    """Return the best score of a run in words: a PSNR, or a loss where that chooses.

    Of a loss, `psnr` is the negative: more is better in either.
    """
    return f"loss {best['loss']:.4g}" if "loss" in best else f"{best['psnr']:.2f} dB"


class Checkpoint(NamedTuple):
    """A checkpoint as it was read: once, whole and checked."""

    settings: dict  # by name, as their flags would read them; {} for a file of another program
    content: dict
    path: Path
    others: tuple["Checkpoint", ...] = ()  # whose predictions are averaged with those of this one

    @property
    def every(self) -> tuple["Checkpoint", ...]:
        """This one and the others."""
        return (self, *self.others)

    @property
    def is_ours(self) -> bool:
        """True for one of this project, False for one of another implementation of the lab."""
        return is_ours(self.content)

    @property
    def model(self) -> str:
        """The `--model` it holds."""
        return self.settings.get("model", "cvae")

    def __str__(self) -> str:
        """Return in words which it is: file, epoch from 0, step and the best score."""
        words = f"{self.path}: epoch {self.content.get('last_epoch', 'unknown')}"
        if not self.is_ours:
            return f"{words}, of another program"
        words += f", step {self.content['step']:,}"
        best = self.content["best"]
        if best is None or best["epoch"] < 0:
            return f"{words}, not validated yet"
        score = f"{best['set']} {best_score(best)}"
        if best["epoch"] == self.content["last_epoch"]:
            return f"{words}, {score}"
        return f"{words}; the best before it: {score} in epoch {best['epoch']}"


def save(path: Path, content: dict, keep: int = 0) -> None:
    """Write a checkpoint whole or not at all; `keep` earlier ones stay beside it."""
    with atomic_write(path, keep=keep) as file:
        torch.save(content, file)


def read(path: Path, flag: str | None = None) -> Checkpoint:
    """Read a checkpoint and its settings. Raises UserError where either is not to be used."""
    content = load(path, flag)
    settings = check_values(content["settings"], path) if is_ours(content) else {}
    return Checkpoint(settings, content, path)


def load(path: Path, flag: str | None = None) -> dict:
    """Read the content of a checkpoint onto the CPU.

    A `.safetensors` file is one without an optimizer. Raises UserError for what is not a whole
    checkpoint, with the flag that named it where it is missing.
    """
    weights_only = safetensors_file.is_safetensors(path)
    try:
        content = safetensors_file.read(path) if weights_only else _unpickled(path)
    except FileNotFoundError:
        said = f"{flag} {path}" if flag else path
        raise UserError(f"{said}: no such checkpoint{_beside(path)}") from None
    except Exception as error:  # what a damaged file makes torch raise is not told anywhere
        reason = str(error).split("\n")[0][:200]
        raise UserError(f"{path} is not a whole checkpoint, or holds code ({reason})") from None
    try:
        check_weights(content)
        if is_ours(content):
            content = {FORMER_NAMES.get(name, name): value for name, value in content.items()}
            check_run((safetensors_file.WITHOUT_RUN | content) if weights_only else content)
    except ValueError as error:
        raise UserError(f"{path} is not a checkpoint to use: {error}; take another") from None
    return content


def _unpickled(path: Path) -> dict:
    with open_regular(path) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch on files it did not write
        _compare_checksums(file)
        file.seek(0)
        return torch.load(file, map_location="cpu", weights_only=True)


def _compare_checksums(file: BinaryIO) -> None:
    """Raise BadZipFile where a stored checksum does not fit, which torch itself passes over."""
    if not zipfile.is_zipfile(file):
        return  # the format of old torch has none
    with zipfile.ZipFile(file) as archive:
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            raise zipfile.BadZipFile("compressed entries, which torch does not write")
        if (damaged := archive.testzip()) is not None:
            raise zipfile.BadZipFile(f"checksum of {damaged}")


def is_ours(content: dict) -> bool:
    """Tell a checkpoint written here from one of another implementation of the lab."""
    return isinstance(content.get("format"), str) and content["format"] == FORMAT


def candidates(folder: Path, prefer: str = LAST) -> list[Path]:
    """Return the checkpoints of a run folder: `prefer` and what it was before, then epoch=N."""

    def numbered(prefix: str) -> list[Path]:
        """Return `PREFIX` + number + `.ckpt` in rising order."""
        found = {
            int(match.group(1)): file
            for file in folder.glob(f"{prefix}*.ckpt")
            if (match := re.fullmatch(rf"{prefix}(\d+)", file.stem))
        }
        return [found[number] for number in sorted(found)]

    newest = [folder / prefer] if (folder / prefer).exists() else []
    return [*newest, *numbered(f"{Path(prefer).stem}-"), *reversed(numbered("epoch="))]


def find(path: str, *, prefer: str, flag: str = "--ckpt_path") -> Checkpoint:
    """Read a checkpoint file, or of a run folder the file `prefer`, else its newest whole one.

    Says so where a newer one is damaged, or none is the best yet. Raises UserError where none is
    whole.
    """
    place = Path(path)
    if not place.is_dir():
        return read(place, flag)
    damaged: list[UserError] = []
    found = candidates(place, prefer) or candidates(place, LAST)
    if found and prefer == BEST and found[0].name != BEST:
        print(f"no {BEST} in {path} yet; taking {found[0].name} instead", file=sys.stderr)
    for candidate in found:
        try:
            checkpoint = read(candidate)
        except UserError as error:
            damaged.append(error)
            continue
        for error in damaged:
            print(f"{error}; taking {candidate.name} instead", file=sys.stderr)
        return checkpoint
    if damaged:
        raise UserError(f"{flag} {path}: no checkpoint there is whole: {damaged[0]}")
    raise UserError(f"{flag} {path}: no {prefer} or epoch=N.ckpt in this folder{_inside(place)}")


def _beside(path: Path) -> str:
    """Return in words which checkpoints, or else runs, are in the folder of a missing one."""
    there = sorted(file.name for file in path.parent.glob("*.ckpt"))
    if there:
        return f"; in {path.parent} there are {', '.join(there)}"
    if not path.parent.is_dir():
        return f"; there is no folder {path.parent}"
    return _runs_in(path.parent, f"runs in {path.parent.absolute()}:")


def _inside(folder: Path) -> str:
    """Return in words which folders in one without checkpoints, or else beside it, have some."""
    parent = folder.absolute().parent
    return _runs_in(folder, "runs are in") or _runs_in(parent, f"runs in {parent}:")


def _runs_in(folder: Path, words: str) -> str:
    runs = sorted({file.parent.name for file in folder.glob("*/*.ckpt")})
    return f"; {words} {', '.join(runs)}" if runs else ""


def load_weights(module: torch.nn.Module, checkpoint: Checkpoint) -> None:
    """Put the weights of a checkpoint into a module, strictly. Raises UserError if they differ."""
    content, path = checkpoint.content, checkpoint.path
    for name, own in module.state_dict().items():
        weight = content["state_dict"].get(name, own)
        if weight.is_floating_point() != own.is_floating_point():
            raise UserError(f"{path} does not fit this model: {name} is of type {weight.dtype}")
    try:
        module.load_state_dict(content["state_dict"], strict=True)
    except RuntimeError as error:
        lines = str(error).splitlines()
        detail = "; ".join(line.strip() for line in lines[1:4])
        raise UserError(f"{path} does not fit this model: {detail}") from None


def export_safetensors(
    content: dict, path: Path, *, overwrite: bool, left_out: Collection[str], data: str
) -> None:
    """Write the weights with their settings (`safetensors_file.write`).

    Raises UserError where there is such a file already, unless `overwrite`, and for a checkpoint
    that does not say its settings.
    """
    flag = f"--export_safetensors {path}"
    if not safetensors_file.is_safetensors(path):
        raise UserError(f"{flag}: the name must end in {safetensors_file.SUFFIX}, to be read again")
    if path.exists() and not overwrite:
        raise UserError(f"{flag}: exists; choose another name, or --overwrite")
    if not is_ours(content):
        raise UserError(f"{flag}: a checkpoint of the lab holds no settings to write beside it")
    try:
        safetensors_file.write(path, content, left_out=left_out, data=data)
    except OSError as error:
        raise UserError(f"{flag}: {why(error)}") from None


def export_lab(content: dict, path: Path, *, overwrite: bool) -> None:
    """Write the checkpoint with the lab's five entries only, as other implementations load it.

    Raises UserError where there is such a file already, unless `overwrite`.
    """
    if path.exists() and not overwrite:
        raise UserError(f"--export_lab {path}: exists; choose another name, or --overwrite")
    missing = [key for key in LAB_KEYS if key not in content]
    if missing:
        raise UserError(f"the checkpoint has no {', '.join(missing)}, which the lab's code reads")
    try:
        save(path, {key: content[key] for key in LAB_KEYS})
    except OSError as error:
        raise UserError(f"--export_lab {path}: {why(error)}") from None
    except RecursionError:
        raise UserError("the checkpoint holds lists in lists without end") from None


def trained_on(checkpoint: Checkpoint) -> str:
    """Return in words what a model was trained on: as it says, the demo's data, or a folder."""
    if said := checkpoint.content.get("data"):
        return said
    settings = checkpoint.content.get("settings") if checkpoint.is_ours else None
    root = (settings or {}).get("DR")
    if not isinstance(root, str) or "\0" in root:
        return "data it does not name"
    try:
        return DEMO if (Path(root) / "demo.json").is_file() else Path(root).name
    except OSError:
        return "data it does not name"
