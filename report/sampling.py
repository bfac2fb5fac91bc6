"""The figure of sampled rollouts: scores by step with their intervals."""

import pandas as pd

from report.style import BLUE, DASHES, GRAY, GREEN, UNITS, VERMILION, WIDTH, Figure, style

LINES = {
    "best": ("best of {}", BLUE, DASHES[0]),
    "mean": ("mean of {}", VERMILION, DASHES[1]),
    "posterior": ("posterior (oracle)", GREEN, DASHES[2]),
    "copy_last": ("copy the last context frame", GRAY, DASHES[3]),
}


def sample_steps(table: pd.DataFrame, samples: int) -> Figure:
    """Plot PSNR and SSIM by frame with 95 % intervals, from `step_table`."""
    with style():
        figure = Figure(figsize=(WIDTH, 3.6), layout="constrained")
        axes = figure.subplots(1, len(UNITS))
        for axis, (metric, unit) in zip(axes, UNITS.items()):
            for of, (label, color, dashes) in LINES.items():
                rows = table[(table["metric"] == metric) & (table["of"] == of)]
                line = {"color": color, "ls": dashes, "label": label.format(samples)}
                axis.plot(rows["frame"], rows["mean"], **line)
                axis.fill_between(
                    rows["frame"], rows["low"], rows["high"], color=color, alpha=0.15, lw=0
                )
            axis.set_xlabel("frame")
            axis.set_ylabel(unit)
        axes[0].set_title("predicted frames, 95 % intervals over sequences")
        axes[0].legend()
    return figure
