"""Figures of rollouts: scores by frame, drift, and strips of moments."""

from collections.abc import Iterator, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from report.rollouts import INPUTS, POSE, TRUTH, Rollout, by_data, by_sequence
from report.style import (
    GRAY,
    INK,
    UNITS,
    WIDTH,
    label_axis,
    line_styles,
    outer_labels,
    style,
    with_legend,
)

WEAK_WIDTH = 15  # frames that a weak spot is averaged over
WEAK_SPOTS = 3  # marked in a sequence
DRIFT_WIDTH = 100  # frames that a point of the drift curve is averaged over
STRIP_MOMENTS = 8
GAP = 2  # clear pixels between the pictures of a strip
ERROR_SCALE = 64  # gray levels at the top of an error picture's colors
ERROR_COLORS = "magma"


def rollout_figures(
    rollouts: dict[str, Sequence[Rollout]], times: Sequence[int] | None = None
) -> dict[str, Figure]:
    """Return the figures of the rollouts of some runs, by file name.

    times: the frames to show in the strips; by default they are spread evenly.
    """
    with style():
        figures = {"scores": per_frame(rollouts), "drift": drift(rollouts)}
        for name, of_runs in by_data(rollouts).items():
            figures[f"strip_{name}"] = strip(of_runs, times)
    return {name: figure for name, figure in figures.items() if figure is not None}


def per_frame(rollouts: dict[str, Sequence[Rollout]]) -> Figure | None:
    """PSNR and SSIM of every frame, a row per sequence, the weak spots of each run marked.

    Under them, where known, what the poses do: does the error follow?
    """
    scored = {n: of for n, of in by_sequence(rollouts).items() if any(map(_is_scored, of.values()))}
    if not scored:
        return None
    heights = [h for of in scored.values() for h in ([2.5, 1.3] if _posed(of) else [2.5])]
    figure = Figure(figsize=(WIDTH, sum(heights) + 0.4), layout="constrained")
    grid = figure.subplots(len(heights), 2, sharex=True, squeeze=False, height_ratios=heights)
    rows = iter(grid)
    for name, of_runs in scored.items():
        row = next(rows)
        for axis, metric in zip(row, UNITS):
            first = next(iter(of_runs.values()))
            for baseline in first.baselines:
                if baseline in first.scores.get(metric, {}):
                    values = first.scores[metric][baseline]
                    axis.plot(values, color=GRAY, lw=1, ls="--", label=baseline)
            means = []
            for line, label, values in _series(of_runs, metric):
                axis.plot(values, **line | {"lw": 1}, label=label)
                means.append(f"{np.nanmean(values):.4g}")
                for spot in weak_spots(values):
                    axis.plot(spot, values[spot], "v", color=line["color"], ms=6, mec=INK, mew=0.5)
                    axis.annotate(
                        f"{spot}",
                        (spot, values[spot]),
                        (0, -11),
                        textcoords="offset points",
                        ha="center",
                        fontsize=7,
                    )
            label_axis(axis, f"sequence {name}", UNITS[metric], "frame")
            if len(means) <= 3:
                words = f"mean {', '.join(means)}"
                axis.set_title(words, loc="right", fontsize=8, fontweight="normal")
            axis.margins(y=0.15)
        if posed := _posed(of_runs):
            _pose_curves(next(rows), posed)
    outer_labels(grid)
    return with_legend(figure, list(grid.flat))


def _posed(of_runs: dict[str, Rollout]) -> list[Rollout]:
    """Return the scored rollouts of a sequence that have curves of the pose."""
    return [rollout for rollout in of_runs.values() if rollout.predicted and rollout.pose]


def _pose_curves(row: Sequence[Axes], posed: Sequence[Rollout]) -> None:
    """Show what the poses of a sequence do, with the correlation of each run's error."""
    lines = {"change": {"color": GRAY, "lw": 0.8}, "distance": {"color": INK, "lw": 1}}
    pose = max((rollout.pose for rollout in posed), key=len)
    for axis in row:
        for curve, values in pose.items():
            axis.plot(values, **lines[curve], label=POSE[curve])
        label_axis(axis, "", "gray levels", "frame")
        axis.set_ylim(bottom=0)
    found = [rollout.correlations(name) for rollout in posed for name in rollout.predicted]
    if len(found) <= 3:
        words = [
            f"{curve} {', '.join(f'{of[curve][0]:.2f}' for of in found if curve in of)}"
            for curve in pose
        ]
        title = f"rank correlation with the error: {'; '.join(words)}"
        row[0].set_title(title, loc="right", fontsize=8, fontweight="normal")


def drift(rollouts: dict[str, Sequence[Rollout]]) -> Figure | None:
    """PSNR along the sequences, averaged over 100 frames at a time: does a rollout drift?"""
    curves: dict[str, tuple[list[np.ndarray], bool]] = {}
    for label, of_run in rollouts.items():
        for name in dict.fromkeys(n for r in of_run for n in (*r.predicted, *r.baselines)):
            series = [r.scores["psnr"][name] for r in of_run if name in r.scores.get("psnr", {})]
            is_baseline = not any(name in r.clips for r in of_run)
            several = len({n for r in of_run for n in r.predicted}) > 1
            words = f"{label}, {name}" if several and len(rollouts) > 1 else name
            curves[words if several or is_baseline else label] = series, is_baseline
    if not curves:
        return None
    figure = Figure(figsize=(WIDTH, 3.6), layout="constrained")
    axis = figure.subplots()
    lines = line_styles()
    for label, (series, is_baseline) in curves.items():
        line = {"color": GRAY, "ls": "--", "lw": 1} if is_baseline else next(lines)
        axis.plot(*drift_curve(series), **line, marker=".", ms=8, label=label)
    width = _stretch(max(len(values) for series, _ in curves.values() for values in series))
    label_axis(axis, "", f"PSNR (dB), mean over {width} frames", "frame")
    return with_legend(figure, [axis])


def drift_curve(series: Sequence[np.ndarray]) -> tuple[list[float], list[float]]:
    """Return the middle frame and the mean score of each stretch, over all sequences that reach it.

    A stretch is 100 frames, or an eighth of short sequences; frame 0 begins none.
    """
    longest = max(map(len, series))
    middles, means = [], []
    width = _stretch(longest)
    for start in range(1, longest, width):
        stop = min(start + width, longest)
        parts = [values[start:stop] for values in series if len(values) > start]
        parts = [part for part in parts if not np.isnan(part).all()]
        if parts:
            middles.append((start + stop - 1) / 2)
            means.append(float(np.mean([np.nanmean(part) for part in parts])))
    return middles, means


def _stretch(longest: int) -> int:
    return DRIFT_WIDTH if longest > 3 * DRIFT_WIDTH else max(1, longest // 8)


def weak_spots(values: np.ndarray) -> list[int]:
    """Return the frames about which a score is lowest: minima of its moving mean, far apart.

    The worst first. A spot is a tenth of the sequence away from another and below the mean.
    """
    scored = np.flatnonzero(~np.isnan(values))
    if len(scored) < 2 * WEAK_WIDTH:
        return [int(scored[values[scored].argmin()])] if len(scored) else []
    known = values[scored]
    smooth = np.convolve(known, np.full(WEAK_WIDTH, 1 / WEAK_WIDTH), "valid")
    centers = scored[WEAK_WIDTH // 2 :][: len(smooth)]
    spots: list[int] = []
    for index in smooth.argsort(kind="stable"):
        center = int(centers[index])
        if len(spots) == WEAK_SPOTS or smooth[index] >= known.mean():
            break
        if all(abs(center - spot) >= len(values) / 10 for spot in spots):
            spots.append(center)
    return spots


def strip(of_runs: dict[str, Rollout], times: Sequence[int] | None = None) -> Figure:
    """Moments of a sequence: a row per clip, and under each predicted clip its error."""
    length = len(next(iter(of_runs.values())))
    if times is None:
        times = np.linspace(0, length - 1, STRIP_MOMENTS).round().astype(int).tolist()
    times = sorted({min(time, length - 1) for time in times})
    rows: dict[str, np.ndarray] = {}  # (moments, H, W, 4) float, by what stands at the left
    for label, rollout in of_runs.items():
        for name, frames in rollout.clips.items():
            shared = name in INPUTS
            title = name if shared or len(of_runs) == 1 else f"{label}\n{name}"
            rows[title] = _opaque(frames[times] / 255)
            if not shared and TRUTH in rollout.clips:
                rows[f"{title}\nerror" if "\n" in title else f"{title}, error"] = _error(
                    frames[times], rollout.clips[TRUTH][times]
                )
    height, width = next(iter(rows.values())).shape[1:3]
    sheet = np.zeros((len(rows) * (height + GAP), len(times) * (width + GAP), 4))
    for y, pictures in enumerate(rows.values()):
        for x, picture in enumerate(pictures):
            top, left = y * (height + GAP), x * (width + GAP)
            sheet[top : top + height, left : left + width] = picture

    tall = (WIDTH - 1.2) * sheet.shape[0] / sheet.shape[1]
    figure = Figure(figsize=(WIDTH, tall + 1.1), layout="constrained")
    axis = figure.subplots()
    axis.imshow(sheet, interpolation="none")
    axis.set_xticks([x * (width + GAP) + width / 2 for x in range(len(times))])
    axis.set_xticklabels([f"frame {time}" for time in times])
    axis.set_yticks([y * (height + GAP) + height / 2 for y in range(len(rows))])
    axis.set_yticklabels(list(rows))
    axis.xaxis.tick_top()
    axis.tick_params(length=0)
    axis.grid(False)
    axis.spines[:].set_visible(False)
    if any(TRUTH in rollout.clips for rollout in of_runs.values()):
        figure.colorbar(
            ScalarMappable(Normalize(0, ERROR_SCALE), ERROR_COLORS),
            ax=axis,
            location="bottom",
            shrink=0.4,
            aspect=40,
            fraction=min(0.15, 0.5 / tall),
            pad=0.1 / tall,
            label="error: mean absolute difference of the colors (gray levels of 255)",
        )
    return figure


def error_ramp(stops: int = 12) -> list[tuple[int, int, int]]:
    """Return the colors of errors, from none to the brightest, as 0 to 255."""
    colors = matplotlib.colormaps[ERROR_COLORS](np.linspace(0, 1, stops))[:, :3]
    return [tuple(int(value) for value in row) for row in (colors * 255).round()]


def _opaque(pictures: np.ndarray) -> np.ndarray:
    return np.concatenate([pictures, np.ones_like(pictures[..., :1])], axis=-1)


def _error(frames: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the mean absolute difference of the colors as pictures (moments, H, W, 4)."""
    error = np.abs(frames.astype(np.int16) - truth).mean(axis=-1)
    return matplotlib.colormaps[ERROR_COLORS](np.minimum(error / ERROR_SCALE, 1.0))


def _is_scored(rollout: Rollout) -> bool:
    return bool(rollout.predicted)


def _series(of_runs: dict[str, Rollout], metric: str) -> Iterator[tuple[dict, str, np.ndarray]]:
    """Yield line style, label and values of every predicted clip of a sequence."""
    lines = line_styles()
    for label, rollout in of_runs.items():
        for name in rollout.predicted:
            if name in rollout.scores.get(metric, {}):
                words = f"{label}, {name}" if len(of_runs) > 1 else name
                words = label if len(rollout.predicted) == 1 else words
                yield next(lines), words, rollout.scores[metric][name]
