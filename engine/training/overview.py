"""What a run says before it starts: trained on what, with which settings, where, how long."""

import os
import sys
import textwrap
import time

from core import distributed
from core.threads import Threads
from data.types import Clip, TrainingData
from engine.training.prediction_buffer import begin_prediction_buffer
from engine.training.progress import COUNTED_EPOCHS
from engine.training.run import Run
from engine.training.schedule_notes import schedule_notes
from engine.training.step_memory import StepMemory
from engine.training.task import TrainedTask
from settings.models import MODELS
from settings.on_gpu import is_gpu, scaled
from settings.resolve import Settings, overrides

COLUMNS = 80  # of the block
WARM_UP_STEPS, TIMED_STEPS, MOST_SECONDS = 2, 10, 20.0  # of a dry run


def print_overview(
    task: TrainedTask,
    run: Run,
    data: TrainingData,
    sets: dict[str, list[Clip]],
    threads: Threads,
    memory: StepMemory | None,
) -> None:
    """Print the block; a task's own lines come after those of the data."""
    settings = task.settings
    place = os.path.abspath(settings.save_root)  # which may be a link that leads nowhere
    lines = {
        "data": data_line(settings, data),
        **task.overview(data),
        "validation": validation_line(settings, sets),
        "model": model_line(settings, run),
        "settings": settings_line(settings),
        "computes": computes_line(run, threads),
        **({"memory": str(memory)} if memory else {}),
        "length": length_line(run, data),
        "writes": f"nothing (--dry_run; else {place})" if settings.dry_run else place,
    }
    if notes := schedule_notes(settings):
        lines["beware"] = ". ".join(notes)
    width = 2 + max(map(len, lines))
    for name, words in lines.items():
        broken = textwrap.wrap(
            words, COLUMNS - width, break_long_words=False, break_on_hyphens=False
        )
        print(f"{name:<{width}}" + ("\n" + " " * width).join(broken or [""]))
    sys.stdout.flush()


def data_line(settings: Settings, data: TrainingData) -> str:
    windows = settings.batch_size * distributed.world_size()
    return (
        f"{settings.DR}: {len(data.frames):,} frames; an epoch is {data.batches_in(0):,} steps of "
        f"{windows} windows"
    )


def validation_line(settings: Settings, sets: dict[str, list[Clip]]) -> str:
    told = [
        f"{name}, {len(clips)} clip{'s' * (len(clips) > 1)} of {max(map(len, clips))} frames"
        for name, clips in sets.items()
    ]
    often = "every epoch" if settings.per_val == 1 else f"every {settings.per_val} epochs"
    if settings.minutes is not None:
        often += " and after each quarter of the time"
    return f"{often} on {'; '.join(told)}; best.ckpt is chosen by {next(iter(sets))}"


def model_line(settings: Settings, run: Run) -> str:
    parameters = sum(parameter.numel() for parameter in run.model.parameters())
    return f"{settings.model}, {parameters:,} parameters"


def settings_line(settings: Settings) -> str:
    """Return the preset and the flags that differ from it."""
    told = [
        f"--{name} {_plain(own)} (not {_plain(preset)})"
        for name, (own, preset) in overrides(settings).items()
    ]
    line = f"--preset {settings.preset}{' with ' if told else ''}{', '.join(told)}"
    return line + batch_on_gpu(settings)


def batch_on_gpu(settings: Settings) -> str:
    """Return what to add where the preset has chosen batch and rate for a GPU, else nothing."""
    spec = MODELS[settings.model]
    bare, batch = spec.presets[settings.preset], spec.gpu_batches.get(settings.preset)
    if batch is None or settings.batch_size != batch or not is_gpu(settings.device):
        return ""
    line = f"; on a GPU {batch} windows a step instead of {bare['batch_size']}"
    if settings.lr != scaled(bare["lr"], batch / bare["batch_size"]):
        return line
    return f"{line}, and so --lr {settings.lr:g} instead of {bare['lr']:g} (by the square root)"


def _plain(value: object) -> str:
    if isinstance(value, list | tuple):
        return " ".join(map(_plain, value))
    return f"{value:g}" if isinstance(value, float) else str(value).lower()


def computes_line(run: Run, threads: Threads) -> str:
    compute, processes = run.compute, distributed.world_size()
    line = f"{processes} processes on " if processes > 1 else ""
    line += f"{compute.device}, {'bf16 convolutions' if compute.bf16 else 'fp32'}"
    if compute.compiled:
        line += ", compiled"
    if compute.device.type == "cpu":
        line += f", {threads}"
    return line


def length_line(run: Run, data: TrainingData) -> str:
    settings = run.settings
    if settings.minutes is not None:
        left = f", {run.seconds / 60:.1f} of them done" if run.seconds else ""
        return (
            f"{settings.minutes:g} minutes of training{left}; schedules of {settings.num_epoch} "
            "epochs are stretched over them"
        )
    left = steps_left(run, data)
    steps = "" if left is None else f", {left:,} steps" + (" to go" if run.step else "")
    return f"epochs {run.epoch} to {settings.num_epoch - 1}{steps}"


def steps_left(run: Run, data: TrainingData) -> int | None:
    """Return how many steps the run has to go; None where that is not counted."""
    epochs = range(run.epoch, run.settings.num_epoch)
    if run.settings.minutes is not None or len(epochs) > COUNTED_EPOCHS:
        return None
    steps = sum(map(data.batches_in, epochs))
    return steps - run.epoch_metrics.batches if steps else None


def print_timed_steps(run: Run, data: TrainingData) -> None:
    """Take some steps, print how long one takes and how long all of them would.

    The run is not to be used afterwards.
    """
    settings = run.settings
    if settings.prediction_buffer:
        run.prediction_buffer = begin_prediction_buffer(run.prediction_buffer, data, run.step)
    run.network.train()
    began, timed = time.perf_counter(), []
    for number, batch in enumerate(data.batches(run.epoch)):
        kl_beta = run.schedule()["beta"]
        forced = run.teacher_forcing(number, batch.frames.shape[1] - 1)
        run.prepare_step(batch, forced, kl_beta)
        mark = time.perf_counter()
        float(run.train_step(batch, forced, kl_beta)["loss"])  # waits for the device
        timed.append(time.perf_counter() - mark)
        (late,) = distributed.all_reduce_max(time.perf_counter() - began > MOST_SECONDS)
        if len(timed) == WARM_UP_STEPS + TIMED_STEPS or (late and len(timed) > 1):
            break
    timed = timed[min(WARM_UP_STEPS, len(timed) - 1) :]
    print(time_to_the_end(run, data, sum(timed) / len(timed)))


def time_to_the_end(run: Run, data: TrainingData, seconds_per_step: float) -> str:
    """Return in words how long a step takes, and how long those that are left."""
    line = f"a step takes {duration(seconds_per_step)}"
    if run.settings.minutes is not None:
        steps = (60 * run.settings.minutes - run.seconds) / seconds_per_step
        return f"{line}: about {steps:,.0f} steps in the time that is left"
    if (left := steps_left(run, data)) is None:
        return line
    return f"{line}: about {duration(left * seconds_per_step)} to the end, validations not counted"


def duration(seconds: float) -> str:
    """Return a time as one reads it: 85 ms, 12 s, 3 min, 2 h 05 min."""
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 120:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours < 48 else f"{hours / 24:.0f} days"
