"""A submission looked over before it is uploaded: is it what the data ask for?"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from core.errors import UserError
from data.types import Clip
from engine.evaluation.scoring import kaggle_psnr, kaggle_summary, score

ROWS_AT_A_TIME = 64
FAR = 16.0  # gray levels of 255: another picture, not another way to shrink the same
NAMED = 3  # problems that the message names


def check_submission(path: Path, clips: list[Clip]) -> None:
    """Print that a submission fits the test sequences, and its scores where the truth is known.

    Looked at are header, ids, the number of rows, the range of the values, and whether each
    sequence begins with the frame that was given and goes on from it. Raises UserError that names
    what is wrong.
    """
    frames = read_submission(path, clips)
    wrong, start = [], 0
    rows = sum(map(len, clips))
    if len(frames) != rows:
        told = ", ".join(f"{len(clip)} of sequence {clip.name}" for clip in clips)
        wrong.append(f"{len(frames):,} rows, not {rows:,} ({told})")
    else:
        for clip in clips:
            wrong += wrong_in_sequence(frames[start : start + len(clip)], clip, clips)
            start += len(clip)
    if wrong:
        more = f"; and {len(wrong) - NAMED} more" if len(wrong) > NAMED else ""
        raise UserError(f"--check {path}: {'; '.join(wrong[:NAMED])}{more}")
    print(
        f"{path}: {rows:,} rows, ids 0 to {rows - 1}, values {frames.min()} to {frames.max()}, "
        f"{len(clips)} sequence{'s' * (len(clips) > 1)}, each beginning with the frame given: it "
        "fits the data"
    )
    print_scores(frames, clips)


def wrong_in_sequence(frames: np.ndarray, clip: Clip, clips: list[Clip]) -> list[str]:
    """Return in words what is wrong with the rows (T, C·H·W) of a sequence."""
    distances = [
        float(np.abs(frames[0].astype(np.int16) - other.frames[0].flatten().numpy()).mean())
        for other in clips
    ]
    own = distances[clips.index(clip)]
    nearest = clips[int(np.argmin(distances))]
    if own > 2 * min(distances) + 1:
        return [f"sequence {clip.name} begins with the first frame of sequence {nearest.name}"]
    if own > FAR:
        return [f"sequence {clip.name} does not begin with its first frame ({own:.0f} of 255 off)"]
    if len(clip) > 2 and (frames == frames[0]).all():
        return [f"sequence {clip.name} is its first frame over and over"]
    return []


def print_scores(frames: np.ndarray, clips: list[Clip]) -> None:
    """Print the lab's score where the true frames of all sequences are known."""
    if not all(clip.has_truth for clip in clips):
        return
    scores, start = [], 0
    for clip in clips:
        rows = torch.from_numpy(frames[start : start + len(clip)])
        scores.append(kaggle_psnr(score(clip, rows.view(len(clip), *clip.frames.shape[1:])).psnr))
        start += len(clip)
    told = ", ".join(f"{name} {psnr:.2f}" for name, psnr in kaggle_summary(scores).items())
    print(f"PSNR in dB of frames 1 to 600 (the lab's Kaggle rule): {told}")


def read_submission(path: Path, clips: list[Clip]) -> np.ndarray:
    """Return the rows (N, C·H·W) uint8. Raises UserError where the file is not in the format."""
    values = clips[0].frames[0].numel()
    most = sum(map(len, clips)) + ROWS_AT_A_TIME  # of a file that goes on and on, enough is read
    try:
        with path.open(encoding="utf-8", newline="") as file:
            header = file.readline(20 * values).rstrip("\r\n").split(",")
        if header != ["id", *map(str, range(values))]:
            raise UserError(
                f"--check {path}: the header is not id,0,1,…,{values - 1} but has "
                f"{len(header):,} columns, {','.join(header[:4])[:40]}…"
            )
        parts, rows = [], 0
        for part in _parts(path):
            parts.append(_checked(part, rows, values, path))
            rows += len(part)
            if rows > most:
                break
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        reason = getattr(error, "strerror", None) or str(error).strip()[:200]
        raise UserError(f"--check {path}: {reason}") from None
    return np.concatenate(parts) if parts else np.empty((0, values), np.uint8)


def _parts(path: Path) -> Iterator[pd.DataFrame]:
    try:
        with pd.read_csv(path, header=None, skiprows=1, chunksize=ROWS_AT_A_TIME) as reader:
            yield from reader
    except pd.errors.EmptyDataError:  # a header and nothing below it
        return


def _checked(part: pd.DataFrame, first: int, values: int, path: Path) -> np.ndarray:
    """Return the values of some rows, of which the first has the number `first`."""
    if part.shape[1] != values + 1:
        raise UserError(f"--check {path}: rows of {part.shape[1]:,} cells, not {values + 1:,}")
    odd = [name for name, kind in part.dtypes.items() if kind.kind not in "iu"]
    if odd:
        column = pd.to_numeric(part[odd[0]], errors="coerce")
        bad = int(np.argmax((column.isna() | (column % 1 != 0)).to_numpy()))
        cell = str(part[odd[0]].iloc[bad])[:20]
        where = "id" if odd[0] == 0 else f"column {odd[0] - 1}"
        raise UserError(f"--check {path}, row {first + bad}, {where}: {cell!r} is no whole number")
    table = part.to_numpy(np.int64)
    ids = np.arange(first, first + len(table))
    if (wrong := np.flatnonzero(table[:, 0] != ids)).size:
        row = int(wrong[0])
        raise UserError(
            f"--check {path}: row {first + row} has the id {table[row, 0]}, not {ids[row]}"
        )
    pixels = table[:, 1:]
    if (wrong := np.argwhere((pixels < 0) | (pixels > 255))).size:
        row, column = wrong[0].tolist()
        raise UserError(
            f"--check {path}, row {first + row}, column {column}: {pixels[row, column]} is not in "
            "0 to 255 (rint(255·x))"
        )
    if first == 0 and len(pixels) > 1 and pixels.max() <= 1:
        raise UserError(f"--check {path}: no value above 1; the frames are to be 0 to 255")
    return pixels.astype(np.uint8)
