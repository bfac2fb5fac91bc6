"""Plots; the only file that imports matplotlib."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # files only, no window
from matplotlib.figure import Figure

from engine.files import replacing
from engine.scoring import Scores

# Okabe & Ito's palette keeps its contrast for colour-blind readers and in print.
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#888888"


def plot_scores(path: Path, scores: Sequence[Scores]) -> None:
    """Plot PSNR and SSIM by frame of every sequence, beside copying the first frame (PNG)."""
    figure = Figure(figsize=(10, 2.4 * len(scores)), layout="constrained")
    axes = figure.subplots(len(scores), 2, sharex=True, squeeze=False)
    for (left, right), clip in zip(axes, scores):
        frames = range(clip.first, clip.first + len(clip.psnr))
        for axis, model, copied, unit in (
            (left, clip.psnr, clip.copy_psnr, "PSNR (dB)"),
            (right, clip.ssim, clip.copy_ssim, "SSIM"),
        ):
            axis.plot(frames, copied, color=GREY, lw=1, ls="--", label="copy first frame")
            axis.plot(frames, model, color=BLUE, lw=1, label="prediction")
            axis.axhline(model.mean(), color=ORANGE, lw=0.8, label=f"mean {model.mean():.4g}")
            axis.set_ylabel(unit)
            axis.grid(alpha=0.3)
            axis.legend(fontsize=7, loc="upper right")
        left.set_title(f"sequence {clip.name}", loc="left", fontsize=9)
    for axis in axes[-1]:
        axis.set_xlabel("frame")
    with replacing(path) as file:
        figure.savefig(file, format="png", dpi=120)
