"""Figures of trainings, from what their logs hold."""

import itertools
import re
from collections.abc import Iterable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from report.arms import BASELINES
from report.rollouts import COPIED
from report.runs import Record
from report.style import (
    BLUE,
    GRAY,
    GREEN,
    INK,
    PURPLE,
    UNITS,
    VERMILION,
    WIDTH,
    dots,
    label_axis,
    line_styles,
    log_scale,
    outer_labels,
    style,
    whole_numbers,
    with_legend,
)

# What the log calls them, and what a reader does.
LOSSES = (
    ("loss", "total loss", "total loss (MSE + β·KL)"),
    ("mse", "MSE", "MSE (mean over pixels in [0, 1])"),
    ("kl", "KL", "KL (nats / frame)"),
    ("elbo", "−ELBO", "−ELBO (nats / frame)"),
)
# Where the log has a loss: of training, and of the set that chooses the best checkpoint.
KINDS = {
    "training": ("{loss}", {}),
    "validation": ("{judge}_{loss}", {"marker": "o", "ms": 4, "mfc": "none"}),
    "posterior (oracle)": ("{judge}_posterior_{loss}", {"marker": "+", "ms": 6, "ls": "none"}),
}
MARKERS = 25  # on a line, at most
SCHEDULES = (
    ("beta", "KL weight β", "β"),
    ("tfr", "teacher forcing ratio", "ratio"),
    ("lr", "learning rate", "rate"),
)


def training_figures(records: Sequence[Record]) -> dict[str, Figure]:
    """Return the figures that the logs of some runs allow, by file name."""
    logged = [record for record in records if record.log]
    with style():
        overviews = {name: overview(record) for name, record in overview_names(logged).items()}
        figures = {
            "losses": losses(logged),
            "schedules": schedules(logged),
            "teacher_forcing": teacher_forcing(logged),
            "annealing": annealing(logged),
            "validation": validation(logged),
        }
    figures = overviews | figures if len(logged) == 1 else figures | overviews
    return {name: figure for name, figure in figures.items() if figure is not None}


def losses(records: Sequence[Record]) -> Figure | None:
    """Losses over the epochs, a panel each; the ELBO with its sign turned: lower is better.

    Those of validation and with the posterior (oracle) are of the set that chooses the best
    checkpoint.
    """
    panels = [panel for panel in LOSSES if _is_logged(panel, records)]
    figure, axes = _panels(panels, records, columns=2)
    shown = set()
    for axis, (loss, *_) in zip(axes, panels):
        for line, record in zip(line_styles(), records):
            shown |= {k for k in list(KINDS)[1:] if _plot_kind(axis, record, loss, k, line)}
        log_scale(axis)
    for kind in (kind for kind in KINDS if kind in shown):  # in the legend once for all runs
        color = BLUE if len(records) == 1 else INK
        axes[0].plot([], [], **{"color": color} | KINDS[kind][1], label=kind)
    for axis in axes[:-2]:  # the upper row shares the lower one's
        axis.set_xlabel("")
    return with_legend(figure, axes)


def overview(record: Record) -> Figure | None:
    """One run over its epochs: losses, KL, β, teacher forcing ratio, PSNR beside the baselines."""
    rows = {
        "loss": ("loss\nMSE + β·KL", 2),
        "kl": ("KL\n(nats)", 2),
        "beta": ("KL weight β", 1),
        "tfr": ("teacher\nforcing ratio", 1),
        "psnr": ("PSNR (dB)", 2),
    }
    columns = {"psnr": f"{record.judge}_psnr"}
    rows = {n: row for n, row in rows.items() if len(record.column(columns.get(n, n))[0])}
    if not rows:
        return None
    heights = [height for _, height in rows.values()]
    figure = Figure(figsize=(WIDTH, 0.9 * sum(heights) + 0.8), layout="constrained")
    grid = figure.subplots(len(rows), 1, sharex=True, height_ratios=heights, squeeze=False)
    for axis, (name, (unit, _)) in zip(grid.flat, rows.items()):
        label_axis(axis, "", unit)
        if name in ("loss", "kl"):
            colors = dict(zip(KINDS, (BLUE, VERMILION, GRAY)))
            for kind, color in colors.items():
                _plot_kind(axis, record, name, kind, {"color": color, "label": kind})
            log_scale(axis)
        elif name == "psnr":
            for color, name_of_set in zip(itertools.cycle((GREEN, PURPLE)), record.validation_sets):
                line = {"color": color, "label": f"PSNR on {name_of_set}"}
                _plot_scores(axis, record, f"{name_of_set}_psnr", line)
            _mark_baselines(axis, [record], record.judge)
        else:
            epochs, values = record.column(name)
            axis.plot(epochs, values, color=INK, **dots(epochs))
            axis.set_ylim(0, 1.05 if name == "tfr" else 1.1 * values.max() or 1)
    grid[0, 0].set_title(record.label)
    outer_labels(grid)
    return with_legend(figure, list(grid.flat))


def overview_names(records: Sequence[Record]) -> dict[str, Record]:
    """Return the runs by the file name of their overview, which their labels may not be."""
    if len(records) == 1:
        return {"run": records[0]}
    names: dict[str, Record] = {}
    for record in records:
        name = "run_" + re.sub(r"[^\w.=-]+", "_", record.label)
        names[name if name not in names else f"{name}_{len(names)}"] = record
    return names


def schedules(records: Sequence[Record]) -> Figure | None:
    """β, teacher forcing ratio and learning rate over the epochs."""
    figure, axes = _panels(SCHEDULES, records, columns=3)
    for axis in axes:
        axis.set_ylim(bottom=0)
    return with_legend(figure, axes)


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
    _plot(left, "loss", records)
    for line, record in zip(line_styles(), records):
        right.plot(*record.column("tfr"), **line | {"lw": 4, "alpha": 0.3}, label=record.label)
    log_scale(left)
    right.set_ylim(-0.02, 1.02)
    right.set_ylabel("teacher forcing ratio (broad, pale)")
    label_axis(left, "", "total loss, MSE + β·KL (fine)")
    return with_legend(figure, [left])


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
    lines = {record.label: line for line, record in zip(line_styles(), records)}
    for axis, kind in zip(grid[0], kinds):
        axis.set_title(f"annealing: {kind}")
    for row, (name, unit) in zip(grid, rows):
        for axis, members in zip(row, kinds.values()):
            _plot(axis, name, members, [lines[record.label] for record in members])
        if name != "beta":
            log_scale(*row)
        row[0].set_ylabel(unit)
    for axis in grid[-1]:
        axis.set_xlabel("epoch")
        whole_numbers(axis)
    return with_legend(figure, list(grid.flat))


def validation(records: Sequence[Record]) -> Figure | None:
    """PSNR and SSIM of the rollouts of validation over the epochs, beside the baselines."""
    sets = list(dict.fromkeys(name for record in records for name in record.validation_sets))
    if not sets:
        return None
    figure = Figure(figsize=(WIDTH, 3 * len(sets)), layout="constrained")
    grid = figure.subplots(len(sets), 2, sharex=True, squeeze=False)
    for row, name in zip(grid, sets):
        for axis, metric in zip(row, UNITS):
            for line, record in zip(line_styles(), records):
                _plot_scores(axis, record, f"{name}_{metric}", line | {"label": record.label})
            label_axis(axis, name, UNITS[metric])
        _mark_baselines(row[0], records, name)
    outer_labels(grid)
    return with_legend(figure, list(grid.flat))


def _plot_scores(axis: Axes, record: Record, column: str, line: dict) -> None:
    """Plot a score over the epochs with a large dot at the best."""
    epochs, values = record.column(column)
    axis.plot(epochs, values, **line, marker=".")
    if len(values):
        best = int(values.argmax())
        axis.plot(epochs[best], values[best], "o", color=line["color"], ms=6)


def _mark_baselines(axis: Axes, records: Sequence[Record], name: str) -> None:
    """Mark the PSNR that no model at all has on a set."""
    for baseline, words in BASELINES.items():
        dashes = "--" if baseline in COPIED else ":"
        column = f"{name}_{baseline}_psnr"
        for value in sorted({v for record in records for v in record.column(column)[1]}):
            axis.axhline(value, color=GRAY, ls=dashes, lw=1, label=words)
            axis.annotate(
                f"{words} {value:.2f}",
                (1, value),
                xycoords=("axes fraction", "data"),
                ha="right",
                va="bottom",
                fontsize=7.5,
                color=GRAY,
            )


def _plot_kind(axis: Axes, record: Record, loss: str, kind: str, line: dict) -> bool:
    """Plot a loss of one of the `KINDS` over the epochs of a run; tell whether it was logged."""
    column, marks = KINDS[kind]
    epochs, values = record.column(column.format(loss=loss, judge=record.judge))
    if len(epochs):
        marks = marks or dots(epochs)
        axis.plot(epochs, values, **line | marks, markevery=-(-len(epochs) // MARKERS))
    return len(epochs) > 0


def _plot(
    axis: Axes, column: str, records: Sequence[Record], lines: Iterable[dict] | None = None
) -> None:
    """Plot a column of every run's log over its epochs."""
    for line, record in zip(lines or line_styles(), records):
        epochs, values = record.column(column)
        values = -values if column == "elbo" else values
        axis.plot(epochs, values, **line, **dots(epochs), label=record.label)


def _is_logged(panel: tuple[str, str, str], records: Sequence[Record]) -> bool:
    return any(len(record.column(panel[0])[0]) for record in records)


def _panels(
    panels: Sequence[tuple[str, str, str]], records: Sequence[Record], columns: int
) -> tuple[Figure | None, list[Axes]]:
    """Return a figure with an axis for each (column, title, unit) that some run has logged."""
    panels = [panel for panel in panels if _is_logged(panel, records)]
    if not panels:
        return None, []
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(WIDTH, 2.7 * rows + 0.3), layout="constrained")
    axes = list(figure.subplots(rows, columns, sharex=True, squeeze=False).flat)
    for axis, (column, title, unit) in zip(axes, panels):
        _plot(axis, column, records)
        label_axis(axis, title, unit)
    for spare in axes[len(panels) :]:
        spare.remove()
    return figure, axes[: len(panels)]
