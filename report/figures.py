"""Figures of runs and of their roll-outs; the only file that imports matplotlib.

Colours are Okabe & Ito's, which colour-blind readers tell apart; lines differ in their dashes too,
so that a print in grey is enough.
"""

import io
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")  # files only, no window
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogFormatter, MaxNLocator

from engine.files import replacing
from report.rollouts import COPIED, INPUTS, TRUTH, Rollout
from report.runs import Record

BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY = (
    *("#0072B2", "#D55E00", "#009E73"),
    *("#CC79A7", "#E69F00", "#56B4E9"),
)
COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
INK, GREY, RULE, PAPER = "#1A1A1A", "#767676", "#DDDDDD", "#FFFFFF"
DASHES = ("-", (0, (5, 1.5)), (0, (3, 1, 1, 1)), (0, (1, 1)))
STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": GREY,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 9,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "figure.facecolor": PAPER,
    "font.size": 9,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.5,
    "svg.fonttype": "none",  # text stays text: to search, to select, in the page's own type
    "text.color": INK,
    "text.parse_math": False,  # a run may be called a$b
    "xtick.color": GREY,
    "xtick.labelcolor": INK,
    "xtick.labelsize": 8,
    "ytick.color": GREY,
    "ytick.labelcolor": INK,
    "ytick.labelsize": 8,
}
WIDTH = 10.0  # inches of every figure
WEAK_WIDTH = 15  # frames that a weak spot is averaged over
WEAK_SPOTS = 3  # marked in a sequence
DRIFT_WIDTH = 100  # frames that a point of the drift curve is averaged over
STRIP_MOMENTS = 8
GAP = 2  # clear pixels between the pictures of a strip
ERROR_SCALE = 64  # grey levels at the top of an error picture's colours
ERROR_COLOURS = "magma"

# What the log calls them, and what a reader does.
LOSSES = (
    ("loss", "total loss", "MSE + β·KL"),
    ("mse", "MSE", "mean over pixels in [0, 1]"),
    ("kl", "KL", "nats / frame"),
    ("elbo", "−ELBO", "nats / frame"),
)
SCHEDULES = (
    ("beta", "KL weight β", "β"),
    ("tfr", "teacher forcing ratio", "ratio"),
    ("lr", "learning rate", "rate"),
)
UNITS = {"psnr": "PSNR (dB)", "ssim": "SSIM"}


def style() -> "matplotlib.RcParams":
    """Return the context in which every figure is drawn and saved."""
    return matplotlib.rc_context(STYLE)


def training_figures(records: Sequence[Record]) -> dict[str, Figure]:
    """Return the figures that the logs of some runs allow, by file name."""
    logged = [record for record in records if record.log]
    with style():
        figures = {
            "losses": losses(logged),
            "schedules": schedules(logged),
            "teacher_forcing": teacher_forcing(logged),
            "annealing": annealing(logged),
            "validation": validation(logged),
        }
    return {name: figure for name, figure in figures.items() if figure is not None}


def rollout_figures(
    rollouts: dict[str, Sequence[Rollout]], times: Sequence[int] | None = None
) -> dict[str, Figure]:
    """Return the figures of the roll-outs of some runs, by file name.

    times: the frames to show in the strips; by default they are spread evenly.
    """
    with style():
        figures = {"scores": per_frame(rollouts), "drift": drift(rollouts)}
        for name, of_runs in by_sequence(rollouts).items():
            figures[f"strip_{name}"] = strip(of_runs, times)
    return {name: figure for name, figure in figures.items() if figure is not None}


def write_png(figure: Figure, path: Path) -> None:
    with style(), replacing(path) as file:
        figure.savefig(file, format="png", dpi=160)


def to_svg(figure: Figure, name: str) -> str:
    """Return a figure as SVG; the same figure gives the same text."""
    text = io.StringIO()
    with style(), matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return text.getvalue()


# --------------------------------------------------------------------- training


def losses(records: Sequence[Record]) -> Figure | None:
    """Losses over the epochs, a panel each; the ELBO with its sign turned: lower is better."""
    figure, axes = _panels([name for name, *_ in LOSSES], records, columns=2)
    for axis, (name, title, unit) in zip(axes, _logged(LOSSES, records)):
        for line, record in zip(_lines(), records):
            epochs, values = record.column(name)
            values = -values if name == "elbo" else values
            axis.plot(epochs, values, **line, **_dots(epochs), label=record.label)
        _log_scale(axis)
        _label(axis, title, f"{title} ({unit})")
    for axis in axes[:-2]:  # the upper row shares the lower one's
        axis.set_xlabel("")
    return _with_legend(figure, axes)


def schedules(records: Sequence[Record]) -> Figure | None:
    """β, teacher forcing ratio and learning rate over the epochs."""
    figure, axes = _panels([name for name, *_ in SCHEDULES], records, columns=3)
    for axis, (name, title, unit) in zip(axes, _logged(SCHEDULES, records)):
        for line, record in zip(_lines(), records):
            epochs, values = record.column(name)
            axis.plot(epochs, values, **line, **_dots(epochs), label=record.label)
        axis.set_ylim(bottom=0)
        _label(axis, title, unit)
    return _with_legend(figure, axes)


def teacher_forcing(records: Sequence[Record]) -> Figure | None:
    """Teacher forcing against the loss, in one panel with an axis on either side."""
    records = [r for r in records if len(r.column("tfr")[0]) and len(r.column("loss")[0])]
    if not records:
        return None
    figure = Figure(figsize=(WIDTH, 4), layout="constrained")
    left = figure.subplots()
    right = left.twinx()
    right.spines.right.set_visible(True)
    right.grid(False)
    for line, record in zip(_lines(), records):
        epochs, values = record.column("loss")
        left.plot(epochs, values, **line, **_dots(epochs), label=record.label)
        right.plot(*record.column("tfr"), **line | {"lw": 4, "alpha": 0.3}, label=record.label)
    _log_scale(left)
    right.set_ylim(-0.02, 1.02)
    right.set_ylabel("teacher forcing ratio (broad, pale)")
    _label(left, "", "total loss, MSE + β·KL (fine)")
    return _with_legend(figure, [left])


def annealing(records: Sequence[Record]) -> Figure | None:
    """Runs by their annealing type, a column each: β, MSE and KL. None for less than two types."""
    kinds: dict[str, list[Record]] = {}
    for record in records:
        kinds.setdefault(str(record.settings.get("kl_anneal_type", "unknown")), []).append(record)
    if len(kinds) < 2:
        return None
    rows = [
        ("beta", "β"),
        ("mse", "MSE (pixels in [0, 1])"),
        ("kl", "KL (nats / frame)"),
        ("loss", "total loss"),
    ]
    rows = [row for row in rows if any(len(r.column(row[0])[0]) for r in records)]
    if not rows:
        return None
    figure = Figure(figsize=(WIDTH, 2 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), len(kinds), sharex=True, sharey="row", squeeze=False)
    lines = {record.label: line for line, record in zip(_lines(), records)}
    for axis, kind in zip(grid[0], kinds):
        axis.set_title(f"annealing: {kind}")
    for row, (name, unit) in zip(grid, rows):
        for axis, members in zip(row, kinds.values()):
            for record in members:
                epochs, values = record.column(name)
                axis.plot(
                    epochs, values, **lines[record.label], **_dots(epochs), label=record.label
                )
        if name != "beta":
            _log_scale(*row)
        row[0].set_ylabel(unit)
    for axis in grid[-1]:
        axis.set_xlabel("epoch")
    return _with_legend(figure, list(grid.flat))


def validation(records: Sequence[Record]) -> Figure | None:
    """PSNR and SSIM of the roll-outs of validation over the epochs, beside the baselines."""
    sets = list(dict.fromkeys(name for record in records for name in record.validation_sets))
    if not sets:
        return None
    figure = Figure(figsize=(WIDTH, 3 * len(sets)), layout="constrained")
    grid = figure.subplots(len(sets), 2, sharex=True, squeeze=False)
    for row, name in zip(grid, sets):
        for axis, metric in zip(row, UNITS):
            for line, record in zip(_lines(), records):
                epochs, values = record.column(f"{name}_{metric}")
                axis.plot(epochs, values, **line, marker=".", label=record.label)
                if len(values):
                    best = int(values.argmax())
                    axis.plot(epochs[best], values[best], "o", color=line["color"], ms=6)
            _label(axis, name, UNITS[metric])
        for baseline, words in (COPIED | {"nearest_pose": "nearest pose"}).items():
            dashes = "--" if baseline in COPIED else ":"
            column = f"{name}_{baseline}_psnr"
            for value in sorted({v for record in records for v in record.column(column)[1]}):
                row[0].axhline(value, color=GREY, ls=dashes, lw=1, label=words)
                row[0].annotate(
                    f"{words} {value:.2f}",
                    (1, value),
                    xycoords=("axes fraction", "data"),
                    ha="right",
                    va="bottom",
                    fontsize=7.5,
                    color=GREY,
                )
    _outer_labels(grid)
    return _with_legend(figure, list(grid.flat))


# -------------------------------------------------------------------- roll-outs


def by_sequence(rollouts: dict[str, Sequence[Rollout]]) -> dict[str, dict[str, Rollout]]:
    """Turn roll-outs by run into roll-outs by sequence and run."""
    found: dict[str, dict[str, Rollout]] = {}
    for label, of_run in rollouts.items():
        for rollout in of_run:
            found.setdefault(rollout.name, {})[label] = rollout
    return found


def per_frame(rollouts: dict[str, Sequence[Rollout]]) -> Figure | None:
    """PSNR and SSIM of every frame, a row per sequence, the weak spots of each run marked."""
    scored = {n: of for n, of in by_sequence(rollouts).items() if any(map(_is_scored, of.values()))}
    if not scored:
        return None
    figure = Figure(figsize=(WIDTH, 2.5 * len(scored) + 0.4), layout="constrained")
    grid = figure.subplots(len(scored), 2, sharex=True, squeeze=False)
    for row, (name, of_runs) in zip(grid, scored.items()):
        for axis, metric in zip(row, UNITS):
            first = next(iter(of_runs.values()))
            for baseline in first.baselines:
                if baseline in first.scores.get(metric, {}):
                    values = first.scores[metric][baseline]
                    axis.plot(values, color=GREY, lw=1, ls="--", label=baseline)
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
            _label(axis, f"sequence {name}", UNITS[metric], "frame")
            if len(means) <= 3:
                words = f"mean {', '.join(means)}"
                axis.set_title(words, loc="right", fontsize=8, fontweight="normal")
            axis.margins(y=0.15)
    _outer_labels(grid)
    return _with_legend(figure, list(grid.flat))


def drift(rollouts: dict[str, Sequence[Rollout]]) -> Figure | None:
    """PSNR along the sequences in pieces of 100 frames: does a roll-out wear off?"""
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
    lines = _lines()
    for label, (series, is_baseline) in curves.items():
        line = {"color": GREY, "ls": "--", "lw": 1} if is_baseline else next(lines)
        axis.plot(*drift_curve(series), **line, marker=".", ms=8, label=label)
    width = _piece(max(len(values) for series, _ in curves.values() for values in series))
    _label(axis, "", f"PSNR (dB), mean over {width} frames", "frame")
    return _with_legend(figure, [axis])


def drift_curve(series: Sequence[np.ndarray]) -> tuple[list[float], list[float]]:
    """Return the middle frame and the mean score of each piece, over all sequences that reach it.

    A piece is 100 frames, or an eighth of short sequences; frame 0 begins none.
    """
    longest = max(map(len, series))
    middles, means = [], []
    width = _piece(longest)
    for start in range(1, longest, width):
        stop = min(start + width, longest)
        pieces = [values[start:stop] for values in series if len(values) > start]
        pieces = [piece for piece in pieces if not np.isnan(piece).all()]
        if pieces:
            middles.append((start + stop - 1) / 2)
            means.append(float(np.mean([np.nanmean(piece) for piece in pieces])))
    return middles, means


def _piece(longest: int) -> int:
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
    centres = scored[WEAK_WIDTH // 2 :][: len(smooth)]
    spots: list[int] = []
    for index in smooth.argsort(kind="stable"):
        centre = int(centres[index])
        if len(spots) == WEAK_SPOTS or smooth[index] >= known.mean():
            break
        if all(abs(centre - spot) >= len(values) / 10 for spot in spots):
            spots.append(centre)
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
            ScalarMappable(Normalize(0, ERROR_SCALE), ERROR_COLOURS),
            ax=axis,
            location="bottom",
            shrink=0.4,
            aspect=40,
            fraction=min(0.15, 0.5 / tall),
            pad=0.1 / tall,
            label="error: mean absolute difference of the colours (grey levels of 255)",
        )
    return figure


def error_ramp(stops: int = 12) -> list[tuple[int, int, int]]:
    """Return the colours of errors, from none to the brightest, as 0 to 255."""
    colours = matplotlib.colormaps[ERROR_COLOURS](np.linspace(0, 1, stops))[:, :3]
    return [tuple(int(value) for value in row) for row in (colours * 255).round()]


def _opaque(pictures: np.ndarray) -> np.ndarray:
    return np.concatenate([pictures, np.ones_like(pictures[..., :1])], axis=-1)


def _error(frames: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the mean absolute difference of the colours as pictures (moments, H, W, 4)."""
    error = np.abs(frames.astype(np.int16) - truth).mean(axis=-1)
    return matplotlib.colormaps[ERROR_COLOURS](np.minimum(error / ERROR_SCALE, 1.0))


# ---------------------------------------------------------------------- helpers


def _is_scored(rollout: Rollout) -> bool:
    return bool(rollout.predicted)


def _series(of_runs: dict[str, Rollout], metric: str) -> Iterator[tuple[dict, str, np.ndarray]]:
    """Yield line style, label and values of every predicted clip of a sequence."""
    lines = _lines()
    for label, rollout in of_runs.items():
        for name in rollout.predicted:
            if name in rollout.scores.get(metric, {}):
                words = f"{label}, {name}" if len(of_runs) > 1 else name
                words = label if len(rollout.predicted) == 1 else words
                yield next(lines), words, rollout.scores[metric][name]


def _lines() -> Iterator[dict]:
    """Yield a line style for each run: colours first, and with each the next dashes."""
    for index in itertools.count():
        dashes = DASHES[(index + index // len(COLOURS)) % len(DASHES)]
        yield {"color": COLOURS[index % len(COLOURS)], "ls": dashes}


def _dots(epochs: np.ndarray) -> dict:
    """Return what shows the epochs of a short log, of which one alone would be no line."""
    return {"marker": "."} if len(epochs) <= 30 else {}


def _logged(panels: Sequence[tuple], records: Sequence[Record]) -> list[tuple]:
    """Return the panels whose column some run has logged."""
    return [panel for panel in panels if any(len(r.column(panel[0])[0]) for r in records)]


def _panels(
    names: Sequence[str], records: Sequence[Record], columns: int
) -> tuple[Figure | None, list[Axes]]:
    """Return a figure with an axis for each column that is logged."""
    count = len(_logged([(name,) for name in names], records))
    if not count:
        return None, []
    columns = min(columns, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(WIDTH, 2.7 * rows + 0.3), layout="constrained")
    axes = list(figure.subplots(rows, columns, sharex=True, squeeze=False).flat)
    for spare in axes[count:]:
        spare.remove()
    return figure, axes[:count]


def _outer_labels(grid: np.ndarray) -> None:
    """Name what runs across at the bottom only; the axes of a column share it."""
    for axis in grid[:-1].flat:
        axis.set_xlabel("")


def _label(axis: Axes, title: str, unit: str, across: str = "epoch") -> None:
    axis.set_title(title)
    axis.set_ylabel(unit)
    axis.set_xlabel(across)
    axis.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))


def _log_scale(*axes: Axes) -> None:
    """Give axes that share their values a logarithmic scale where these span much."""
    values = np.concatenate([line.get_ydata() for axis in axes for line in axis.lines] or [[]])
    values = values[np.isfinite(values)]
    if len(values) == 0 or values.min() <= 0 or values.max() < 5 * values.min():
        return
    for axis in axes:
        axis.set_yscale("log")
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.yaxis.set_minor_formatter(_MinorFormatter(minor_thresholds=(1.5, 0.5)))


class _MinorFormatter(LogFormatter):
    """Labels between the powers of ten, where there are few of those."""

    def __call__(self, value: float, position: int | None = None) -> str:
        return f"{value:g}" if super().__call__(value, position) else ""


def _with_legend(figure: Figure | None, axes: Sequence[Axes]) -> Figure | None:
    """Put one legend over a figure: every label once."""
    if figure is None:
        return None
    entries = {
        line.get_label(): line
        for axis in axes
        for line in axis.lines
        if not line.get_label().startswith("_child")  # the marks
    }
    columns = min(len(entries), max(1, 110 // max(8 + len(label) for label in entries)))
    figure.legend(list(entries.values()), list(entries), loc="outside upper left", ncols=columns)
    return figure
