"""What a training run says: a bar while an epoch is trained, a line after a validation."""

import sys
import time
from collections.abc import Callable

from tqdm import tqdm

from core import distributed
from data.types import TrainingData
from engine.checkpoints.checkpoint import best_score
from engine.training.run import Run

COUNTED_EPOCHS = 10_000  # more are not added up for the bar
SECONDS_PER_REFRESH = 0.5  # how often the bar is drawn
NARROW = 80  # columns that a terminal has at least


def progress_bar(run: Run, data: TrainingData) -> tqdm:
    """Return a bar over all steps of the run, or with `--minutes` over its seconds.

    Where the output is no terminal it shows nothing.
    """
    settings = run.settings
    if settings.minutes is None:
        countable = settings.num_epoch <= COUNTED_EPOCHS
        epochs = range(settings.num_epoch if countable else 0)
        total: float | None = sum(data.batches_in(epoch) for epoch in epochs) or None
        begun: float = run.step
    else:
        total, begun = 60 * settings.minutes, run.seconds
    return tqdm(
        total=total,
        initial=begun,
        disable=None if distributed.is_main() else True,
        dynamic_ncols=True,
        bar_format="{desc} |{bar:8}| {percentage:.0f} %, {remaining} left{postfix}",
    )


def refresh(bar: tqdm, run: Run, loss: float) -> None:
    """Show on the bar how the run stands; the bar itself tells the time left.

    Loss and best score always; what more there is where the terminal is wide. A disabled bar
    shows nothing.
    """
    if bar.disable:
        return
    epoch = run.epoch_metrics
    if run.settings.minutes is not None:
        bar.n = min(bar.total, run.seconds)
    bar.set_description_str(progress(run), refresh=False)
    told = [f"loss {loss:.3g}"]
    if run.best and run.best["epoch"] >= 0:
        told.append(f"best {best_score(run.best)}")
    room = (bar.ncols or NARROW) - NARROW
    for more in (
        f"{epoch.frames / epoch.seconds:.0f} frames/s",
        f"lr {epoch.scheduled['lr']:.2g}",
        f"β {epoch.scheduled['beta']:.3g}",
        f"tfr {epoch.scheduled['tfr']:.2f}",
    ):
        if (room := room - len(more) - 2) >= 0:
            told.append(more)
    bar.set_postfix_str(", ".join(told), refresh=False)
    bar.refresh()


def stage(bar: tqdm, words: str) -> None:
    """Show on the bar what the run does instead of training."""
    if not bar.disable and words != bar.desc:
        bar.set_description_str(words, refresh=False)
        bar.set_postfix_str("", refresh=False)
        bar.refresh()


def validating(bar: tqdm, epoch: int, name: str) -> Callable[[str, int, int], None]:
    """Return what shows on the bar how far a validation is: what is done, so many of so many."""
    shown = 0.0

    def show(what: str, done: int, of: int) -> None:
        nonlocal shown
        if (now := time.perf_counter()) - shown > SECONDS_PER_REFRESH or done == of:
            shown = now
            stage(bar, f"epoch {epoch}, {name}: {what} {done}/{of}")

    return show


def progress(run: Run) -> str:
    """Return how far the run is, in words; epochs count from 0, as in the log and in file names."""
    if run.settings.minutes is None:
        return f"epoch {run.epoch}/{run.settings.num_epoch - 1}"
    return f"epoch {run.epoch}, {run.seconds / 60:.1f}/{run.settings.minutes:g} min"


class FirstSteps:
    """Times the first steps of a run, those left out in which memory and kernels are got."""

    SKIPPED, STEPS, SECONDS = 2, 10, 5.0  # at least so many of them, and so long

    def __init__(self) -> None:
        self._count, self._seconds = -self.SKIPPED, 0.0

    def add(self, seconds: float) -> float | None:
        """Count a step; return the mean time of one, once, when it is known."""
        self._count += 1
        if self._count <= 0 or self._seconds == float("inf"):
            return None
        self._seconds += seconds
        if self._count < self.STEPS or self._seconds < self.SECONDS:
            return None
        mean, self._seconds = self._seconds / self._count, float("inf")
        return mean


UNSAID = ("elbo", "grad_norm", "skipped", "step")  # metrics that are for the log alone


def summary(row: dict[str, dict[str, float]], progress: str, best: dict) -> str:
    """Return the line that a validated epoch leaves; row: its figures by group."""
    schedule, judge = row["schedule"], best["set"]
    metrics = {name: value for name, value in row["train"].items() if name not in UNSAID}
    line = (
        f"{progress}: {', '.join(f'{name} {value:.4g}' for name, value in metrics.items())}, "
        f"β {schedule['beta']:.3g}, tfr {schedule['tfr']:.2f}, lr {schedule['lr']:.2g}, "
        f"{row['system']['frames_per_second']:.0f} frames/s"
    )
    if (score := _score(row["val"], judge)) is None:
        return line
    beside = [f"best {best_score(best)} in epoch {best['epoch']}"] if best["epoch"] >= 0 else []
    for copied, what in (("copy_first", "frame 0"), ("copy_last", "the last context frame")):
        if (psnr := row["val"].get(f"{judge}_{copied}_psnr")) is not None:
            beside.append(f"copying {what} {psnr:.2f}")
    return f"{line}; {judge} {score}" + (f" ({', '.join(beside)})" if beside else "")


def _score(found: dict[str, float], judge: str) -> str | None:
    """Return what a validation found: PSNR, else a loss; None where it found neither."""
    if f"{judge}_psnr" in found:
        return f"{found[f'{judge}_psnr']:.2f} dB"
    loss = found.get(f"{judge}_loss")
    return None if loss is None else f"loss {loss:.4g}"


def say(bar: tqdm, line: str) -> None:
    """Print a line without breaking the bar."""
    bar.write(line, file=sys.stdout)
    sys.stdout.flush()
