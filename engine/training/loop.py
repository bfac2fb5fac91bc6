"""The training loop: schedules → batches → validate → log → save, epoch by epoch."""

import contextlib
import sys
import time
from pathlib import Path

import torch
from tqdm import tqdm

from core import distributed
from core.errors import UserError
from core.files import warn_on_write_error
from core.signals import Interrupted, StopRequest
from data.types import Clip, TrainingData
from engine.checkpoints import checkpoint
from engine.checkpoints.writer import NoSaver, Saver
from engine.evaluation.scoring import Scores
from engine.evaluation.validation import Validation, gather_objects, validate_share
from engine.output.pictures import write_gif
from engine.output.tracker import Tracker, log_row
from engine.training.guard import LIMIT
from engine.training.prediction_buffer import PredictionBuffer, check_memory
from engine.training.run import Run

SECONDS_PER_REFRESH = 0.5  # how often the bar reads metrics off the device
COUNTED_EPOCHS = 10_000  # more are not added up for the bar
STEPS_PER_CHECK = 16  # how often the host asks whether training has diverged


def train(
    run: Run,
    data: TrainingData,
    sets: dict[str, list[Clip]],
    tracker: Tracker,
    folder: Path,
    constants: dict[str, float],
) -> None:
    """Train `run` to the last epoch of its settings, or until a signal asks to stop.

    sets: clips to validate on by name; the first set chooses `best.ckpt`. constants: figures
    that go into every row of the log, such as baselines. Files go to `folder`, written by the
    first process of a run.

    Raises SystemExit with 143 or 130 after a signal, with everything saved; UserError where
    training diverges or the last checkpoint cannot be written.
    """
    settings = run.settings
    run.replay = begin_prediction_buffer(run, data) if settings.replay else None
    run.best = begin_best(run, next(iter(sets)), folder)
    own_saver = Saver if distributed.is_main() else NoSaver
    saver = own_saver(folder, settings.keep, settings.save_every_minutes)
    with StopRequest() as stop, progress_bar(run, data) as bar:
        try:
            while not run.finished and not stop.agreed:
                train_epoch(run, data, bar, saver, stop)
                with contextlib.suppress(Interrupted):
                    end_epoch(run, data, sets, tracker, saver, stop, bar, constants)
            if stop.agreed:
                saver.save({checkpoint.LAST: run.resume_state()})
        finally:
            saver.close()
    if stop.agreed:
        if distributed.is_main():
            print(
                f"stopped at step {run.step}; the same command goes on from there", file=sys.stderr
            )
        raise SystemExit(stop.exit_code)
    if saver.failed:
        raise UserError(f"the last checkpoint could not be written: {saver.failed}")


def sync_stop_and_clock(run: Run, stop: StopRequest) -> None:
    """Let all processes know of a signal that one of them got, and go by the first one's clock."""
    signum, run.seconds = distributed.all_reduce_max(stop.signum, run.seconds)
    stop.agreed = int(signum)


def end_epoch(
    run: Run,
    data: TrainingData,
    sets: dict[str, list[Clip]],
    tracker: Tracker,
    saver: Saver,
    stop: StopRequest,
    bar: tqdm,
    constants: dict[str, float],
) -> None:
    """Validate, log and save after an epoch. A signal before or meanwhile leaves it undone.

    Raises Interrupted then; the epoch counts as begun, and all of this comes when it is resumed.
    """
    if stop.agreed:
        raise Interrupted
    settings, epoch = run.settings, run.epoch
    groups = run.so_far.means() | {"val": dict(constants)}
    groups["train"] = {"step": run.step} | groups["train"]
    last = epoch + 1 == settings.num_epoch if settings.minutes is None else run.time_is_up
    validates = (epoch + 1) % settings.per_val == 0 or last
    names = [f"epoch={epoch}.ckpt"] if epoch % settings.per_save == 0 or last else []
    gifs: dict[str, Path] = {}
    scores: dict[str, list[Scores]] = {}
    if validates or names:
        run.recompute_bn_stats(data)
    if validates:
        found = validate_all(run, sets, stop)
        for name, validation in found.items():
            groups["val"] |= validation.row(name)
            scores[name] = validation.scores
        psnr = groups["val"][f"{run.best['set']}_psnr"]
        if psnr > run.best["psnr"]:
            run.best = run.best | {"psnr": psnr, "epoch": epoch}
        if distributed.is_main():
            gifs = write_gifs(found, saver.folder, epoch if settings.store_visualization else None)
    run.end_epoch()
    tracker.log(epoch, groups, gifs, scores)
    if validates:
        say(bar, summary(log_row(epoch, groups), progress(run), run.best))

    names += [checkpoint.BEST] if run.best["epoch"] == epoch else []
    if names or validates or saver.due:
        state = run.state()
        resume_state = state | run.resume_only_state()
        saver.save(dict.fromkeys(names, state) | {checkpoint.LAST: resume_state})


def validate_all(run: Run, sets: dict[str, list[Clip]], stop: StopRequest) -> dict[str, Validation]:
    """Validate on every set, the clips shared out. Raises Interrupted in all processes, or none."""
    shares = {}
    with contextlib.suppress(Interrupted), stop.interruptible():
        shares = {
            name: validate_share(run.model, clips, run.settings, run.compute)
            for name, clips in sets.items()
        }
    sync_stop_and_clock(run, stop)
    if stop.agreed:
        raise Interrupted
    return {name: gather_objects(share, len(sets[name])) for name, share in shares.items()}


def begin_best(run: Run, judge: str, folder: Path) -> dict:
    """Return the best score so far, or none where it was another set's, which says nothing."""
    begun = {"set": judge, "holdout": list(run.settings.holdout or ())}
    goes_on = run.best is not None and (folder / checkpoint.BEST).exists()
    if goes_on and all(run.best.get(key) == value for key, value in begun.items()):
        return run.best
    return begun | {"psnr": float("-inf"), "epoch": -1}


def begin_prediction_buffer(run: Run, data: TrainingData) -> PredictionBuffer:
    """Return the replay that was stored with the run, or a new one from the true frames."""
    if run.replay is None:
        if run.step:
            print("this checkpoint holds no replay (last.ckpt does): it begins with true frames")
        return PredictionBuffer(data.frames)
    return PredictionBuffer(run.replay.frames.to(data.frames.device))


def check_prediction_buffer(run: Run, data: TrainingData) -> None:
    """Raise UserError where a replay would not fit into memory, or was stored with other frames."""
    if run.settings.replay:
        check_memory(data.frames)
    if run.replay is not None and run.replay.frames.shape != data.frames.shape:
        raise UserError(
            f"--ckpt_path: its replay has frames of shape {tuple(run.replay.frames.shape)}, "
            f"--DR {tuple(data.frames.shape)}; --warm_start takes the weights alone"
        )


def train_epoch(run: Run, data: TrainingData, bar: tqdm, saver: Saver, stop: StopRequest) -> None:
    """Train what is left of the epoch, or what time and signals leave of it.

    All processes stop after the same step, and go by the schedules of the same time. The metrics
    stay on the device and are read at the end, and now and then for the bar.
    """
    run.model.train()
    so_far = run.so_far
    weight = torch.zeros((), device=run.compute.device)  # a tensor: compiled code stays valid
    refreshed = mark = time.perf_counter()
    for batch in data.batches(run.epoch, so_far.batches):
        sync_stop_and_clock(run, stop)
        if stop.agreed or (so_far.batches and run.time_is_up):
            break
        scheduled = run.schedule()
        forced = run.teacher_forcing(so_far.batches, batch.frames.shape[1] - 1)
        metrics = run.train_step(batch, forced, weight.fill_(scheduled["beta"]))

        so_far.add(batch, forced, metrics)
        so_far.scheduled = scheduled
        now = time.perf_counter()
        run.seconds += now - mark if distributed.is_main() else 0
        so_far.seconds += now - mark
        mark = now
        if run.settings.minutes is None:
            bar.update()
        if not bar.disable and now - refreshed > SECONDS_PER_REFRESH:
            refreshed = now
            refresh(bar, run, float(metrics["loss"]))
        if run.step % STEPS_PER_CHECK == 0 and run.guard.diverged:
            raise diverged(run, saver)
        if saver.due and not run.guard.diverging:
            saver.save({checkpoint.LAST: run.resume_state()})
    sync_stop_and_clock(run, stop)


def diverged(run: Run, saver: Saver) -> UserError:
    """Return what to tell where no step changes the weights any more."""
    saver.wait()
    saved = [path.name for path in checkpoint.candidates(saver.folder)]
    saved += [checkpoint.BEST] if (saver.folder / checkpoint.BEST).exists() else []
    before = f"of before there are {', '.join(saved)}" if saved else "nothing was saved before"
    return UserError(
        f"training diverged: no finite loss in the {LIMIT} steps up to step {run.step}; in "
        f"{saver.folder} {before}. Train with a lower --lr or --max_norm, or with --precision "
        "fp32; --ckpt_path goes on from a checkpoint"
    )


def refresh(bar: tqdm, run: Run, loss: float) -> None:
    """Show on the bar how the run stands; the bar itself tells the time left."""
    scheduled, so_far = run.so_far.scheduled, run.so_far
    if run.settings.minutes is not None:
        bar.n = min(bar.total, run.seconds)
    bar.set_description_str(progress(run), refresh=False)
    best = run.best["psnr"] if run.best else float("-inf")
    bar.set_postfix_str(
        f"{so_far.frames / so_far.seconds:.0f} frames/s, loss {loss:.4g}, "
        f"β {scheduled['beta']:.3g}, tfr {scheduled['tfr']:.2f}, lr {scheduled['lr']:.2g}"
        + (f", best {best:.2f} dB" if best > float("-inf") else ""),
        refresh=False,
    )
    bar.refresh()


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


def progress(run: Run) -> str:
    """Return how far the run is, in words."""
    if run.settings.minutes is None:
        return f"epoch {run.epoch}/{run.settings.num_epoch}"
    return f"epoch {run.epoch}, {run.seconds / 60:.1f} of {run.settings.minutes:g} min"


def write_gifs(found: dict[str, Validation], folder: Path, epoch: int | None) -> dict[str, Path]:
    """Write the GIF of each set's first clip, one a validation where `epoch` is given."""
    kept = "" if epoch is None else f"_epoch={epoch}"
    gifs = {f"{name}_gif": folder / f"{name}{kept}.gif" for name in found}
    for path, validation in zip(gifs.values(), found.values()):
        with warn_on_write_error(path.name):
            write_gif(path, validation.predictions[0])
    return {name: path for name, path in gifs.items() if path.exists()}


def summary(row: dict[str, float], progress: str, best: dict) -> str:
    """Return the line that a validated epoch leaves."""
    judge = best["set"]
    line = (
        f"{progress}: loss {row['loss']:.4g}, mse {row['mse']:.4g}, kl {row['kl']:.4g}, "
        f"β {row['beta']:.3g}, tfr {row['tfr']:.2f}, lr {row['lr']:.2g}, "
        f"{row['frames_per_second']:.0f} frames/s; {judge} {row[f'{judge}_psnr']:.2f} dB "
        f"(best {best['psnr']:.2f} in epoch {best['epoch']}"
    )
    for copied, what in (("copy_first", "frame 0"), ("copy_last", "the last known frame")):
        if (psnr := row.get(f"{judge}_{copied}_psnr")) is not None:
            line += f", copying {what} {psnr:.2f}"
    return line + ")"


def say(bar: tqdm, line: str) -> None:
    """Print a line without breaking the bar."""
    bar.write(line, file=sys.stdout)
    sys.stdout.flush()
