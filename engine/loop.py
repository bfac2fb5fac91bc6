"""The training loop: schedules → batches → log → validate → save, epoch by epoch."""

import sys
import time
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from engine import checkpoint
from engine.contract import Clip, TrainingData
from engine.errors import UserError
from engine.outputs import write_gif
from engine.replay import Replay
from engine.run import Run
from engine.tracking import Tracker
from engine.validation import validate

SECONDS_PER_SAVE = 60  # between last.ckpt and the next, where epochs are shorter
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
    run.replay = begin_replay(run, data) if settings.replay else None
    judge = {"set": next(iter(sets)), "holdout": list(settings.holdout or ())}
    goes_on = run.best is not None and (folder / checkpoint.BEST).exists()
    if not goes_on or any(run.best.get(key) != value for key, value in judge.items()):
        run.best = judge | {"psnr": float("-inf"), "epoch": -1}  # scores of other sets say nothing
    saved = time.perf_counter()
    with progress_bar(run, data) as bar:
        while not run.finished:
            epoch = run.epoch
            row = {"epoch": epoch} | train_epoch(run, data, bar) | constants

            run.epoch += 1
            last = run.finished
            gifs: dict[str, Path] = {}
            if run.epoch % settings.per_val == 0 or last:
                figures, gifs = validate_epoch(run, sets, folder, epoch)
                row |= figures
            tracker.log(row, gifs)
            if gifs or settings.per_val == 1:
                say(bar, summary(row, progress(run), next(iter(sets))))

            kept = epoch % settings.per_save == 0 or last
            if kept:
                checkpoint.save(folder / f"epoch={epoch}.ckpt", run.state())
            if run.best["epoch"] == epoch:
                checkpoint.save(folder / checkpoint.BEST, run.state())
            if kept or gifs or time.perf_counter() - saved > SECONDS_PER_SAVE:
                saved = time.perf_counter()
                checkpoint.save(folder / checkpoint.LAST, run.resume_state())


def begin_replay(run: Run, data: TrainingData) -> Replay:
    """Return the replay that was stored with the run, or a new one from the true frames."""
    if run.replay is None:
        if run.step:
            print("this checkpoint holds no replay (last.ckpt does): it begins with true frames")
        return Replay(data.frames)
    if run.replay.frames.shape != data.frames.shape:
        raise UserError(
            f"--ckpt_path: its replay has frames of shape {tuple(run.replay.frames.shape)}, "
            f"--DR {tuple(data.frames.shape)}; --warm_start takes the weights alone"
        )
    return Replay(run.replay.frames.to(data.frames.device))


def train_epoch(run: Run, data: TrainingData, bar: tqdm) -> dict[str, float]:
    """Train one epoch, or what the time leaves of it, and return the means of its metrics.

    The metrics stay on the device and are read at the end, and now and then for the bar.
    """
    run.model.train()
    weight = torch.zeros((), device=run.compute.device)  # a tensor: compiled code stays valid
    sums: dict[str, Tensor] = {}
    scheduled: dict[str, float] = {}
    steps = frames = forced_steps = 0
    before, refreshed, began = run.seconds, 0.0, time.perf_counter()
    for index, batch in enumerate(data.batches(run.epoch)):
        scheduled = run.schedule()
        forced = run.teacher_forcing(index, batch.frames.shape[1] - 1)
        metrics = run.train_step(batch, forced, weight.fill_(scheduled["beta"]))

        sums = {name: sums.get(name, 0) + value for name, value in metrics.items()}
        steps += 1
        frames += batch.frames.shape[0] * batch.frames.shape[1]
        forced_steps += sum(forced) / len(forced)
        run.seconds = before + time.perf_counter() - began
        bar.update()
        if not bar.disable and run.seconds - refreshed > SECONDS_PER_REFRESH:
            refreshed = run.seconds
            bar.set_description(progress(run), refresh=False)
            bar.set_postfix_str(
                f"loss {float(metrics['loss']):.4g}, β {scheduled['beta']:.3g}, "
                f"tfr {scheduled['tfr']:.2f}, lr {scheduled['lr']:.2g}, "
                f"{frames / (run.seconds - before):.0f} frames/s"
            )
        if run.settings.minutes is not None and run.finished:
            break
    means = {name: float(value) / steps for name, value in sums.items()}
    run.seconds = before + time.perf_counter() - began
    means |= scheduled
    means |= {"step": run.step, "teacher_forced": forced_steps / steps}
    seconds = run.seconds - before
    return means | {"seconds": seconds, "frames_per_second": frames / seconds}


def progress_bar(run: Run, data: TrainingData) -> tqdm:
    """Return a bar over all steps of the run; with `--minutes` nobody knows how many."""
    epochs = range(run.settings.num_epoch)
    total = None if run.settings.minutes else sum(data.batches_in(e) for e in epochs)
    return tqdm(total=total, initial=run.step, unit="step", disable=None, dynamic_ncols=True)


def progress(run: Run) -> str:
    """Return how far the run is, in words."""
    if run.settings.minutes is None:
        return f"epoch {run.epoch}/{run.settings.num_epoch}"
    return f"epoch {run.epoch}, {run.seconds / 60:.1f} of {run.settings.minutes:g} min"


def validate_epoch(
    run: Run, sets: dict[str, list[Clip]], folder: Path, epoch: int
) -> tuple[dict[str, float], dict[str, Path]]:
    """Validate on every set, note the best epoch, and write the GIF of each set's first clip."""
    row: dict[str, float] = {}
    gifs: dict[str, Path] = {}
    for name, clips in sets.items():
        found = validate(run.model, clips, run.settings, run.compute)
        row |= found.row(name)
        psnr = row[f"{name}_psnr"]
        if name == run.best["set"] and psnr > run.best["psnr"]:
            run.best |= {"psnr": psnr, "epoch": epoch}
        kept = f"_epoch={epoch}" if run.settings.store_visualization else ""
        gifs[f"{name}_gif"] = folder / f"{name}{kept}.gif"
        write_gif(gifs[f"{name}_gif"], found.predictions[0])
    return row, gifs


def summary(row: dict[str, float], progress: str, judge: str) -> str:
    """Return the line that an epoch leaves on the terminal."""
    line = (
        f"{progress}: loss {row['loss']:.4g}, mse {row['mse']:.4g}, "
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
