"""Figures of arms: runs over several seeds as a line with a band, or a row with its dots."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from report.arms import BASELINES, Arm
from report.style import (
    GRAY,
    WIDTH,
    dots,
    label_axis,
    line_styles,
    log_scale,
    outer_labels,
    style,
    with_legend,
)

SMOOTHED = 15  # frames of a moving mean, so that a frame's noise does not hide the arms
# Of training and of the rollout of validation: title, unit, column of the first, end of the second.
LOSSES = (
    ("MSE", "MSE (pixels in [0, 1])", "mse", "mse"),
    ("KL", "KL (nats / frame)", "kl", "kl"),
    ("total loss", "MSE + β·KL", "loss", "loss"),
)


def arm_figures(arms: Sequence[Arm]) -> dict[str, Figure]:
    """Return the figures that the runs of some arms allow, by file name."""
    with style():
        figures = {
            "arms_scores": final_scores(arms),
            "arms_frames": psnr_by_frame(arms),
            "arms_losses": losses(arms),
        }
    return {name: figure for name, figure in figures.items() if figure is not None}


def final_scores(arms: Sequence[Arm]) -> Figure | None:
    """PSNR of the last epoch, a row for each arm and a dot for each seed; baselines dashed."""
    judge = next(iter(judges(arms)), None)
    if judge is None:
        return None
    rows = {arm.label: {"": list(arm.scores(f"{judge}_psnr").values())} for arm in arms}
    return score_rows(rows, f"{judge}: PSNR of the last epoch (dB)", baselines_of(arms))


def baselines_of(arms: Sequence[Arm]) -> dict[str, float]:
    """Return what no model at all scores on the set that the runs are judged by, in dB."""
    judge = next(iter(judges(arms)), None)
    return {
        words: found[0]
        for baseline, words in BASELINES.items()
        if (found := [v for a in arms for v in a.scores(f"{judge}_{baseline}_psnr").values()])
    }


def score_rows(
    rows: dict[str, dict[str, Sequence[float]]], across: str, baselines: dict[str, float]
) -> Figure:
    """Scores in rows, a dot for each seed and a bar at their mean.

    rows: by label, and in it by series, of which several are told apart by color and have a legend.
    """
    with style():
        figure = Figure(figsize=(WIDTH, 1.4 + 0.32 * len(rows)), layout="constrained")
        axis = figure.subplots()
        names = list(dict.fromkeys(name for row in rows.values() for name in row))
        lines = line_styles()
        colors = {name: next(lines)["color"] for name in names}
        for at, row in enumerate(rows.values()):
            for name, values in row.items():
                color = colors[name]
                axis.plot(values, [at] * len(values), "o", color=color, ms=5, alpha=0.7)
                if len(values):
                    axis.plot(np.mean(values), at, "|", color=color, ms=16, mew=2, label=name)
        for words, value in baselines.items():
            axis.axvline(value, color=GRAY, ls="--", lw=1)
            axis.annotate(f"{words} {value:.2f}", (value, 1), xycoords=("data", "axes fraction"),
                          ha="left", va="bottom", fontsize=7.5, color=GRAY)  # fmt: skip
        axis.set_yticks(range(len(rows)), list(rows))
        axis.set_ylim(len(rows) - 0.5, -0.5)
        axis.set_xlabel(f"{across}; a dot per seed, a bar at their mean")
        return with_legend(figure, [axis]) if len(names) > 1 else figure


def psnr_by_frame(arms: Sequence[Arm]) -> Figure | None:
    """PSNR of the rolled-out sequences by frame: the mean over seeds, and between which they lie.

    Where clips of the set that judges are among them, these alone. Of a robot's clips it is the one
    that is shown first.
    """
    names = dict.fromkeys(
        rollout.name
        for arm in arms
        for record in arm.runs.values()
        for rollout in record.rollouts
        if rollout.predicted
    )
    names = [name for name in names if name.startswith(judges(arms))] or list(names)
    if not names:
        return None
    figure = Figure(figsize=(WIDTH, 3 * len(names) + 0.4), layout="constrained")
    axes = figure.subplots(len(names), 1, squeeze=False)
    for axis, name in zip(axes.flat, names):
        copied = None
        for arm, line in zip(arms, line_styles()):
            series = []
            for rollout in (r for record in arm.runs.values() for r in record.rollouts):
                if rollout.name == name and rollout.predicted:
                    series.append(smoothed(rollout.scores["psnr"][rollout.predicted[0]]))
                    copied = next((rollout.scores["psnr"][b] for b in rollout.baselines), copied)
            _band(axis, np.arange(len(series[0])) if series else np.empty(0), series, line, arm)
        if copied is not None:
            axis.plot(smoothed(copied), color=GRAY, ls="--", lw=1, label="copying")
        label_axis(axis, f"sequence {name}", "PSNR (dB)", "frame")
    outer_labels(axes)
    figure.supylabel(f"moving mean over {SMOOTHED} frames", fontsize=8, color=GRAY)
    return with_legend(figure, list(axes.flat))


def losses(arms: Sequence[Arm]) -> Figure | None:
    """The losses of training on the left, those of the validation's rollout on the right."""
    logged = {name for arm in arms for record in arm.runs.values() for name in record.log}
    judge = next(iter(judges(arms)), None)
    rows = [row for row in LOSSES if row[2] in logged and f"{judge}_{row[3]}" in logged]
    if not rows:
        return None
    figure = Figure(figsize=(WIDTH, 2.6 * len(rows) + 0.4), layout="constrained")
    grid = figure.subplots(len(rows), 2, sharex=True, sharey="row", squeeze=False)
    for (left, right), (title, unit, trained, validated) in zip(grid, rows):
        for axis, column in ((left, trained), (right, f"{judge}_{validated}")):
            for arm, line in zip(arms, line_styles()):
                columns = [record.column(column) for record in arm.runs.values()]
                columns = [(epochs, values) for epochs, values in columns if len(values)]
                epochs = columns[0][0] if columns else np.empty(0)
                same = [values for at, values in columns if np.array_equal(at, epochs)]
                _band(axis, epochs, same, line, arm)
        label_axis(left, f"training: {title}", unit)
        label_axis(right, f"{judge}: {title}", "")
        log_scale(left, right)
    outer_labels(grid)
    return with_legend(figure, list(grid.flat))


def judges(arms: Sequence[Arm]) -> tuple[str, ...]:
    """Return the sets that choose the best checkpoints of the runs."""
    found = (record.judge for arm in arms for record in arm.runs.values())
    return tuple(dict.fromkeys(judge for judge in found if judge is not None))


def smoothed(values: np.ndarray) -> np.ndarray:
    """Return the moving mean over the frames that have a score; (T,) → (T,)."""
    known = ~np.isnan(values)
    window, middle = np.ones(SMOOTHED), slice(SMOOTHED // 2, SMOOTHED // 2 + len(values))
    sums = np.convolve(np.where(known, values, 0.0), window)[middle]
    counts = np.convolve(known.astype(float), window)[middle]
    return np.where(known, sums / np.maximum(counts, 1), np.nan)


def _band(
    axis: Axes, across: np.ndarray, series: Sequence[np.ndarray], line: dict, arm: Arm
) -> None:
    """Plot the mean of the series of one arm that reach as far, and the range in which they lie."""
    series = [values for values in series if len(values) == len(across)]
    if not series:
        return
    stacked = np.stack(series)
    if len(series) > 1:
        axis.fill_between(
            across, stacked.min(0), stacked.max(0), color=line["color"], alpha=0.15, lw=0
        )
    axis.plot(across, stacked.mean(0), **line, **dots(across), label=arm.label)
