"""How a sequence of poses moves, how far it is from those trained on, and whether errors follow.

Distances are root mean square differences of pose images over pixels and colors, in gray levels.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from data.types import Clip

CPU = torch.device("cpu")
CHUNK = 4096 * 6144  # values of training poses compared at a time


@dataclass(frozen=True)
class PoseCurves:
    """What the pose images of a clip do, by frame: (T,) each, in gray levels."""

    change: np.ndarray  # from the frame before; NaN at frame 0
    distance: np.ndarray | None  # to the nearest training pose; None where there are none
    nearest: np.ndarray | None  # which of the training poses that is, (T,) int64


def pose_curves(clip: Clip, poses: np.ndarray | None, device: torch.device = CPU) -> PoseCurves:
    """Compare the pose images of a clip with each other and with the training poses, on a device.

    poses: those of the training split, (N, H, W, 3) uint8, or None.
    """
    # Measured from white, the ground of pose images, the numbers stay small and float32 exact.
    own = clip.conditions.to(device).permute(0, 2, 3, 1).flatten(1).float() - 255  # (T, H·W·3)
    change = own.diff(dim=0).square().mean(1).sqrt().cpu().numpy()
    change = np.r_[np.nan, change].astype(np.float32)
    if poses is None:
        return PoseCurves(change, None, None)
    best = torch.full((len(own),), float("inf"), device=device)
    nearest = torch.zeros(len(own), dtype=torch.long, device=device)
    together = max(1, CHUNK // own.shape[1])
    for start in range(0, len(poses), together):
        candidates = torch.from_numpy(poses[start : start + together]).to(device)
        candidates = candidates.flatten(1).float() - 255
        # ‖a - b‖² without ‖a‖², which is the same for every candidate
        squares = candidates.square().sum(1)
        distance, index = (squares - 2 * own @ candidates.T).min(dim=1)
        nearer = distance < best
        best[nearer], nearest[nearer] = distance[nearer], index[nearer] + start
    # The distance itself is taken of the pair: the differences above lose its small values.
    nearest = nearest.cpu().numpy()
    found = torch.from_numpy(poses[nearest]).to(device).flatten(1).float() - 255
    distance = (own - found).square().mean(1).sqrt()
    return PoseCurves(change, distance.cpu().numpy(), nearest)


def rank_correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Return Spearman's rank correlation over the entries that both have; NaN without spread.

    Of ranks, so that it is the same for an error in dB, in gray levels or in their squares.
    """
    return float(_shifted_correlations(one, other)[0])


def chance_correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Return the size that 95 % of rank correlations stay below where one curve is shifted.

    It is shifted against the other by a tenth of the length or more, what leaves at the end coming
    in at the start: so far two curves as smooth as these correlate that have nothing to do with
    each other. Frames after each other are alike, and their number says little.
    """
    shifted = np.abs(_shifted_correlations(one, other))
    margin = -(-len(shifted) // 10)
    far = shifted[margin : len(shifted) - margin + 1]
    return float(np.quantile(far, 0.95)) if len(far) else float("nan")


def _shifted_correlations(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the rank correlation at every circular shift of the entries that both have."""
    both = ~(np.isnan(one) | np.isnan(other))
    ranks = [pd.Series(values[both]).rank().to_numpy() for values in (one, other)]
    if any(len(np.unique(rank)) < 2 for rank in ranks):
        return np.full(1, np.nan)
    first, second = ((rank - rank.mean()) / rank.std() for rank in ranks)
    spectrum = np.fft.rfft(first) * np.fft.rfft(second).conj()
    return np.fft.irfft(spectrum, len(first)) / len(first)
