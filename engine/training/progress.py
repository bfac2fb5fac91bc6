"""What a training run says: a bar while an epoch is trained, a line after a validation."""

import sys

from tqdm import tqdm

from core import distributed
from data.types import TrainingData
from engine.training.run import Run

COUNTED_EPOCHS = 10_000  # more are not added up for the bar


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
        bar_format="{desc} |{bar:20}| {percentage:3.0f} %, {remaining} left{postfix}",
    )


def refresh(bar: tqdm, run: Run, loss: float) -> None:
    """Show on the bar how the run stands; the bar itself tells the time left."""
    epoch = run.epoch_metrics
    if run.settings.minutes is not None:
        bar.n = min(bar.total, run.seconds)
    bar.set_description_str(progress(run), refresh=False)
    best = run.best["psnr"] if run.best else float("-inf")
    bar.set_postfix_str(
        f"{epoch.frames / epoch.seconds:.0f} frames/s, loss {loss:.4g}, "
        f"β {epoch.scheduled['beta']:.3g}, tfr {epoch.scheduled['tfr']:.2f}, "
        f"lr {epoch.scheduled['lr']:.2g}"
        + (f", best {best:.2f} dB" if best > float("-inf") else ""),
        refresh=False,
    )
    bar.refresh()


def progress(run: Run) -> str:
    """Return how far the run is, in words."""
    if run.settings.minutes is None:
        return f"epoch {run.epoch}/{run.settings.num_epoch}"
    return f"epoch {run.epoch}, {run.seconds / 60:.1f} of {run.settings.minutes:g} min"


UNSAID = ("elbo", "grad_norm", "skipped", "step")  # metrics that are for the log alone


def summary(row: dict[str, dict[str, float]], progress: str, best: dict) -> str:
    """Return the line that a validated epoch leaves; row: its figures by group."""
    schedule, judge = row["schedule"], best["set"]
    metrics = {name: value for name, value in row["train"].items() if name not in UNSAID}
    line = (
        f"{progress}: {', '.join(f'{name} {value:.4g}' for name, value in metrics.items())}, "
        f"β {schedule['beta']:.3g}, tfr {schedule['tfr']:.2f}, lr {schedule['lr']:.2g}, "
        f"{row['system']['frames_per_second']:.0f} frames/s; "
        f"{judge} {row['val'][f'{judge}_psnr']:.2f} dB "
        f"(best {best['psnr']:.2f} in epoch {best['epoch']}"
    )
    for copied, what in (("copy_first", "frame 0"), ("copy_last", "the last context frame")):
        if (psnr := row["val"].get(f"{judge}_{copied}_psnr")) is not None:
            line += f", copying {what} {psnr:.2f}"
    return line + ")"


def say(bar: tqdm, line: str) -> None:
    """Print a line without breaking the bar."""
    bar.write(line, file=sys.stdout)
    sys.stdout.flush()
