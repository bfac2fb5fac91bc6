"""Scores of predicted clips, always beside what no model at all would score."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from data.types import Clip
from engine.evaluation.metrics import (
    KAGGLE_FRAMES,
    KAGGLE_PUBLIC,
    detail_by_frame,
    psnr_by_frame,
    ssim_by_frame,
)
from engine.evaluation.poses import pose_curves

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Scores:
    """One scored clip; every array has an entry for each predicted frame."""

    name: str
    psnr: np.ndarray  # dB
    ssim: np.ndarray
    copy_psnr: np.ndarray  # dB, of repeating the last context frame
    copy_ssim: np.ndarray
    sharpness: np.ndarray  # detail of the prediction over that of the truth
    first: int = 1  # the first predicted frame

    def table(self) -> pd.DataFrame:
        """Return one row per predicted frame."""
        return pd.DataFrame(
            {
                "sequence": self.name,
                "frame": np.arange(self.first, self.first + len(self.psnr)),
                "psnr": self.psnr,
                "ssim": self.ssim,
                "sharpness": self.sharpness,
                f"{self.copied}_psnr": self.copy_psnr,
                f"{self.copied}_ssim": self.copy_ssim,
            }
        )

    @property
    def copied(self) -> str:
        """The name of the baseline: the first frame is repeated, or the last of the context."""
        return "copy_first" if self.first == 1 else "copy_last"


def score(clip: Clip, predicted: Tensor, device: torch.device = CPU) -> Scores:
    """Score a rollout (T, 3, H, W) uint8 against the true frames of its clip, on a device."""
    first, device = clip.n_past, scoring_device(device)
    true, predicted = (x[first:].to(device) for x in (clip.frames, predicted))
    sharpness = detail_by_frame(predicted) / detail_by_frame(true).clamp(min=1e-6)
    return Scores(
        clip.name,
        psnr_by_frame(predicted, true).cpu().numpy(),
        ssim_by_frame(predicted, true).cpu().numpy(),
        *copy_scores(clip, device),
        sharpness.cpu().numpy(),
        first,
    )


_COPY_SCORES: WeakKeyDictionary[Clip, tuple[np.ndarray, np.ndarray]] = WeakKeyDictionary()


def copy_scores(clip: Clip, device: torch.device) -> tuple[np.ndarray, np.ndarray]:
    """Return PSNR and SSIM of repeating the last context frame; computed once for a clip."""
    if clip not in _COPY_SCORES:
        true, copied = (x[clip.n_past :].to(device) for x in (clip.frames, copy_last(clip)))
        scores = psnr_by_frame(copied, true), ssim_by_frame(copied, true)
        _COPY_SCORES[clip] = tuple(x.cpu().numpy() for x in scores)
    return _COPY_SCORES[clip]


def scoring_device(device: torch.device) -> torch.device:
    """Return where to score what was computed on a device: there, unless SSIM's float64 is not."""
    return CPU if device.type == "mps" else device


def copy_last(clip: Clip) -> Tensor:
    """Predict by repeating the last context frame: (T, 3, H, W) uint8, the context first."""
    first = clip.n_past
    repeated = clip.frames[first - 1 : first].expand(len(clip) - first, -1, -1, -1)
    return torch.cat([clip.frames[:first], repeated])


def mean_scores(scores: Sequence[Scores]) -> dict[str, float]:
    """Return the mean over sequences of the mean over frames, for every metric."""
    metrics = ("psnr", "ssim", "copy_psnr", "copy_ssim", "sharpness")
    return {
        m: float(np.mean([getattr(s, m).mean(dtype=np.float64) for s in scores])) for m in metrics
    }


def mean_psnr(clips: Sequence[Clip], predictions: Iterable[Tensor]) -> float:
    """Return what `mean_scores` returns as psnr, in dB, and compute nothing else."""
    found = [
        psnr_by_frame(predicted[clip.n_past :], clip.frames[clip.n_past :])
        for clip, predicted in zip(clips, predictions)
    ]
    return float(np.mean([psnr.numpy().mean(dtype=np.float64) for psnr in found]))


def drift_table(scores: Sequence[Scores], width: int = 100) -> pd.DataFrame:
    """Return the mean PSNR in dB of frames 1 to `width`, and so on: does a rollout drift?"""
    longest = max(len(s.psnr) for s in scores)
    rows = {}
    for first in range(0, longest, width):
        here = [s for s in scores if len(s.psnr) > first]
        columns = {"psnr": "psnr", "copy_first_psnr": "copy_psnr"}
        rows[f"{first + 1}-{min(first + width, longest)}"] = {
            name: float(np.mean([getattr(s, a)[first : first + width].mean() for s in here]))
            for name, a in columns.items()
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("frames")


def kaggle_psnr(by_frame: np.ndarray) -> float:
    """Return the lab's score of a sequence (docs/lab.md): the mean PSNR of frames 1 to 600, in dB.

    `by_frame` starts at frame 1.
    """
    return float(by_frame[: KAGGLE_FRAMES.stop - KAGGLE_FRAMES.start].mean(dtype=np.float64))


def kaggle_summary(by_sequence: Sequence[float], is_test: bool = True) -> dict[str, float]:
    """Return the mean, and for a test of five sequences the public and the private score, in dB."""
    summary = {"mean": float(np.mean(by_sequence))}
    if is_test and len(by_sequence) == 5:
        summary["public"] = float(np.mean(by_sequence[:KAGGLE_PUBLIC]))
        summary["private"] = float(np.mean(by_sequence[KAGGLE_PUBLIC:]))
    return summary


def nearest_pose_prediction(
    clip: Clip, frames: np.ndarray, poses: np.ndarray, device: torch.device = CPU
) -> Tensor:
    """Predict by retrieval: the training frame with the nearest pose image (least squares).

    frames and poses are the training split, (N, H, W, 3) uint8. Returns (T, 3, H, W) uint8 with
    the clip's own frame 0. A baseline: it models no motion and never interpolates. Poses are
    compared on the device.
    """
    return retrieved(clip, frames, pose_curves(clip, poses, device).nearest)


def retrieved(clip: Clip, frames: np.ndarray, which: np.ndarray) -> Tensor:
    """Return frame 0 of a clip and then those of the training frames that are named, (T,)."""
    found = torch.from_numpy(frames[which]).permute(0, 3, 1, 2)
    return torch.cat([clip.frames[:1], found[1:]])
