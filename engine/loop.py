"""The training loop: schedules → batches → log → validate → save, epoch by epoch."""

import sys
import time
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from engine import checkpoint
from engine.contract import Clip, TrainingData
from engine.outputs import write_gif
from engine.run import Run
from engine.schedules import kl_beta, teacher_forcing_ratio
from engine.tracking import Tracker
from engine.validation import validate

SECONDS_PER_REFRESH = 0.5  # how often the bar reads metrics off the device


def train(
    run: Run,
    data: TrainingData,
    sets: dict[str, list[Clip]],
    tracker: Tracker,
    folder: Path,
    constants: dict[str, float],
) -> None:
    """Train `run` to the last epoch of its settings.

    sets: clips to validate on by name; the first set chooses `best.ckpt`. constants: figures
    that go into every row of the log, such as baselines. Files go to `folder`.
    """
    settings = run.settings
    total = sum(data.batches_in(epoch) for epoch in range(settings.num_epoch))
    done = sum(data.batches_in(epoch) for epoch in range(run.epoch))
    with tqdm(total=total, initial=done, unit="step", disable=None, dynamic_ncols=True) as bar:
        while run.epoch < settings.num_epoch:
            epoch = run.epoch
            lr = run.set_learning_rate()
            beta, tfr = kl_beta(settings, epoch), teacher_forcing_ratio(settings, epoch)
            scheduled = {"beta": beta, "tfr": tfr, "lr": lr}

            row = {"epoch": epoch} | train_epoch(run, data, beta, bar, scheduled)
            row |= scheduled | constants

            run.epoch += 1
            last = run.epoch == settings.num_epoch
            gifs: dict[str, Path] = {}
            if run.epoch % settings.per_val == 0 or last:
                figures, gifs = validate_epoch(run, sets, folder, epoch)
                row |= figures
            tracker.log(row, gifs)
            say(bar, summary(row, settings.num_epoch, next(iter(sets))))

            state = run.state()
            if epoch % settings.per_save == 0 or last:
                checkpoint.save(folder / f"epoch={epoch}.ckpt", state)
            if run.best is not None and run.best["epoch"] == epoch:
                checkpoint.save(folder / checkpoint.BEST, state)
            checkpoint.save(folder / checkpoint.LAST, state)


def train_epoch(
    run: Run, data: TrainingData, beta: float, bar: tqdm, scheduled: dict[str, float]
) -> dict[str, float]:
    """Train one epoch and return the means of its metrics; the device is read only for the bar."""
    run.model.train()
    weight = torch.tensor(
        beta, device=run.compute.device
    )  # a tensor, so that compiled code stays valid
    sums: dict[str, Tensor] = {}
    steps = frames = forced_steps = 0
    began = refreshed = time.perf_counter()
    for index, batch in enumerate(data.batches(run.epoch)):
        forced = run.teacher_forcing(index, batch.frames.shape[1] - 1)
        metrics = run.train_step(batch, forced, weight)

        sums = {name: sums.get(name, 0) + value for name, value in metrics.items()}
        steps += 1
        frames += batch.frames.shape[0] * batch.frames.shape[1]
        forced_steps += sum(forced) / len(forced)
        bar.update()
        if not bar.disable and time.perf_counter() - refreshed > SECONDS_PER_REFRESH:
            refreshed = time.perf_counter()
            rate = frames / (refreshed - began)
            bar.set_description(f"epoch {run.epoch + 1}/{run.settings.num_epoch}", refresh=False)
            bar.set_postfix_str(
                f"loss {float(metrics['loss']):.4g}, β {beta:.3g}, "
                f"tfr {scheduled['tfr']:.2f}, lr {scheduled['lr']:.2g}, {rate:.0f} frames/s"
            )
    means = {name: float(value) / steps for name, value in sums.items()}
    seconds = time.perf_counter() - began
    return means | {
        "step": run.step,
        "teacher_forced": forced_steps / steps,
        "seconds": seconds,
        "frames_per_second": frames / seconds,
    }


def validate_epoch(
    run: Run, sets: dict[str, list[Clip]], folder: Path, epoch: int
) -> tuple[dict[str, float], dict[str, Path]]:
    """Validate on every set, note the best epoch, and write the GIF of each set's first clip."""
    row: dict[str, float] = {}
    gifs: dict[str, Path] = {}
    for position, (name, clips) in enumerate(sets.items()):
        found = validate(run.model, clips, run.settings, run.compute)
        row |= found.row(name)
        psnr = row[f"{name}_psnr"]
        if position == 0 and (run.best is None or psnr > run.best["psnr"]):
            run.best = {"set": name, "psnr": psnr, "epoch": epoch}
        kept = f"_epoch={epoch}" if run.settings.store_visualization else ""
        gifs[f"{name}_gif"] = folder / f"{name}{kept}.gif"
        write_gif(gifs[f"{name}_gif"], found.predictions[0])
    return row, gifs


def summary(row: dict[str, float], num_epoch: int, judge: str) -> str:
    """Return the line that an epoch leaves on the terminal."""
    line = (
        f"epoch {row['epoch'] + 1}/{num_epoch}: loss {row['loss']:.4g}, mse {row['mse']:.4g}, "
        f"kl {row['kl']:.4g}, β {row['beta']:.3g}, tfr {row['tfr']:.2f}, lr {row['lr']:.2g}, "
        f"{row['frames_per_second']:.0f} frames/s"
    )
    if f"{judge}_psnr" in row:
        copied = row[f"{judge}_copy_first_psnr"]
        line += f"; {judge} {row[f'{judge}_psnr']:.2f} dB (copying frame 0: {copied:.2f})"
    return line


def say(bar: tqdm, line: str) -> None:
    """Print a line without breaking the bar."""
    bar.write(line, file=sys.stdout)
    sys.stdout.flush()
