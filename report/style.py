"""How figures look and how they are written.

Colors are Okabe & Ito's, which color-blind readers tell apart; lines differ in their dashes too,
so that a print in gray is enough. matplotlib is imported in this folder and nowhere else.
"""

import io
import itertools
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import matplotlib.style
import numpy as np

matplotlib.use("Agg")  # files only, no window
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogFormatter, MaxNLocator

from core.files import atomic_write

BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY = (
    *("#0072B2", "#D55E00", "#009E73"),
    *("#CC79A7", "#E69F00", "#56B4E9"),
)
COLORS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
INK, GRAY, RULE, PAPER = "#1A1A1A", "#767676", "#DDDDDD", "#FFFFFF"
DASHES = ("-", (0, (5, 1.5)), (0, (3, 1, 1, 1)), (0, (1, 1)))
WIDTH = 10.0  # inches of every figure
UNITS = {"psnr": "PSNR (dB)", "ssim": "SSIM"}


def style() -> AbstractContextManager:
    """Return the context in which every figure is made and saved."""
    return matplotlib.style.context(Path(__file__).with_name("figures.mplstyle"))


def write_png(figure: Figure, path: Path, dpi: int = 160) -> None:
    """Write a figure as PNG, fit for print at its width of ten inches."""
    with style(), atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=dpi)


def to_svg(figure: Figure, name: str) -> str:
    """Return a figure as SVG; the same figure gives the same text."""
    text = io.StringIO()
    with style(), matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return text.getvalue()


def line_styles() -> Iterator[dict]:
    """Yield a line style for each run: colors first, and with each the next dashes."""
    for index in itertools.count():
        dashes = DASHES[(index + index // len(COLORS)) % len(DASHES)]
        yield {"color": COLORS[index % len(COLORS)], "ls": dashes}


def dots(epochs: np.ndarray) -> dict:
    """Return what shows the epochs of a short log, of which one alone would be no line."""
    return {"marker": "."} if len(epochs) <= 30 else {}


def outer_labels(grid: np.ndarray) -> None:
    """Name what runs across at the bottom only; the axes of a column share it."""
    for axis in grid[:-1].flat:
        axis.set_xlabel("")


def label_axis(axis: Axes, title: str, unit: str, across: str = "epoch") -> None:
    """Give an axis its title, its unit and what runs across, with whole numbers there."""
    axis.set_title(title)
    axis.set_ylabel(unit)
    axis.set_xlabel(across)
    whole_numbers(axis)


def whole_numbers(axis: Axes) -> None:
    """Let whole numbers alone run across, as epochs and frames do."""
    axis.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))


def log_scale(*axes: Axes) -> None:
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


def with_legend(figure: Figure | None, axes: Sequence[Axes]) -> Figure | None:
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
