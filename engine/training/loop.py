"""The training loop: schedules → batch → step → log → validate → save, epoch by epoch."""

import contextlib
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from core import distributed
from core.errors import UserError
from core.signals import Interrupted, StopRequest
from core.threads import SlowdownWatch, Threads
from data.types import Batch, Clip, TrainingData
from engine.checkpoints import checkpoint
from engine.checkpoints.writer import NoSaver, Saver
from engine.evaluation.scoring import Scores
from engine.evaluation.validation import Validation, gather_validation, validate_share
from engine.output.pictures import write_first_gifs
from engine.output.tracker import Tracker
from engine.training.failures import diverged, not_saved
from engine.training.overview import time_to_the_end
from engine.training.prediction_buffer import begin_prediction_buffer
from engine.training.progress import (
    SECONDS_PER_REFRESH,
    FirstSteps,
    progress,
    progress_bar,
    refresh,
    say,
    stage,
    summary,
    validating,
)
from engine.training.run import Run

STEPS_PER_CHECK = 16  # how often the host asks whether training has diverged


class TrainingLoop:
    """One call of the loop: a run, what it trains and validates on, and where its output goes.

    sets: clips to validate on by name; the first set chooses `best.ckpt`. constants: figures that
    go into every row of the log, such as baselines. Files go to `folder`, written by the first
    process of a run; before, it asks `check_folder`, which raises where the folder is no longer
    the run's own.
    """

    def __init__(
        self,
        run: Run,
        data: TrainingData,
        sets: dict[str, list[Clip]],
        tracker: Tracker,
        folder: Path,
        constants: dict[str, float],
        threads: Threads,
        check_folder: Callable[[], None] = lambda: None,
    ):
        self.run, self.data, self.sets = run, data, sets
        self.tracker, self.constants = tracker, constants
        self.check_folder = check_folder
        own_saver = Saver if distributed.is_main() else NoSaver
        settings = run.settings
        self.saver = own_saver(
            folder, settings.keep_checkpoints, settings.save_every_minutes, check_folder
        )
        self.stop = StopRequest()
        self.slowdown = SlowdownWatch(threads, adapts=settings.minutes is not None)
        self.first_steps = FirstSteps()
        self.continued = False  # a signal said so during the latest step
        self.stood_still = False  # in the latest step or the one before
        self.preparing = 0.0  # seconds of the latest step that went by in compiling: no training
        self.excess = 0.0  # seconds that the latest step took beyond a usual one
        if settings.prediction_buffer:
            run.prediction_buffer = begin_prediction_buffer(run.prediction_buffer, data, run.step)
        judge = next(iter(sets))
        run.best = distributed.broadcast_from_main(lambda: begin_best(run, judge, folder))

    def train(self) -> None:
        """Train the run to the last epoch of its settings, or until a signal asks to stop."""
        run, saver, stop = self.run, self.saver, self.stop
        with stop, progress_bar(run, self.data) as bar:
            try:
                while not run.finished and not stop.agreed:
                    self.train_epoch(bar)
                    with contextlib.suppress(Interrupted):
                        self.end_epoch(bar)
                if stop.agreed:
                    self.save_resume_point()
            finally:
                saver.close()
        if saver.failed:
            raise not_saved(run, saver, stopped=bool(stop.agreed))
        if stop.agreed:
            if distributed.is_main():
                print(
                    f"stopped at step {run.step}; the same command goes on from there",
                    file=sys.stderr,
                )
            raise SystemExit(stop.exit_code)

    def train_epoch(self, bar: tqdm) -> None:
        """Train what is left of the epoch, or what time and signals leave of it.

        All processes stop after the same step, and go by the schedules of the same time. The
        metrics stay on the device and are read at the end, and now and then for the bar.
        """
        run, saver, epoch = self.run, self.saver, self.run.epoch_metrics
        run.network.train()
        self.settle_frames(bar)
        kl_beta = torch.zeros((), device=run.compute.device)  # a tensor: compiled code stays valid
        self.stop.continued = self.continued = self.stood_still = False
        refreshed = mark = time.perf_counter()
        for batch in self.data.batches(run.epoch, epoch.batches):
            self.sync_stop_and_clock()
            if self.stop.agreed or (epoch.batches and run.time_is_up):
                break
            if run.passed_quarter and run.epoch_is_long:  # and is not to wait for its validation
                break
            scheduled, forced, metrics = self.take_step(batch, kl_beta, bar)
            epoch.add(batch, forced, metrics)
            epoch.scheduled = scheduled
            now = time.perf_counter()
            taken, self.preparing = now - mark - self.preparing, 0.0
            self.count_seconds(taken)
            self.tell(bar, taken)
            self.tracker.log_step(run.step, run.seconds, metrics | scheduled)
            mark = now
            if run.settings.minutes is None:
                bar.update()
            if not bar.disable and now - refreshed > SECONDS_PER_REFRESH:
                refreshed = now
                refresh(bar, run, float(metrics["loss"]))
            if run.step % STEPS_PER_CHECK == 0 and run.guard.diverged:
                raise diverged(run, saver)
            if saver.due and not run.guard.diverging:
                self.save_resume_point()
        self.sync_stop_and_clock()

    def settle_frames(self, bar: tqdm) -> None:
        """Settle how the training frames look in the epoch, where the data have several versions.

        In a begun epoch they look as they did.
        """
        run, data = self.run, self.data
        if not hasattr(data, "version_in"):
            return
        if run.epoch_metrics.batches == 0:
            run.frames_version = data.version_in(run.epoch, run.progress)
        data.version, buffer = run.frames_version, run.prediction_buffer
        if buffer is not None and buffer.version != data.version:
            stage(bar, f"epoch {run.epoch}: changing frames")
            buffer.renew(data.version, *data.changed_frames(data.version, buffer.version))

    def take_step(
        self, batch: Batch, kl_beta: Tensor, bar: tqdm
    ) -> tuple[dict[str, float], list[bool], dict[str, Tensor]]:
        """Train on a batch; return the schedules, the teacher-forced steps and the metrics.

        kl_beta: a scalar on the device, to be filled with the weight of this step.
        """
        run = self.run
        scheduled = run.schedule()
        forced = run.teacher_forcing(run.epoch_metrics.batches, batch.frames.shape[1] - 1)
        kl_beta.fill_(scheduled["beta"])
        began = time.perf_counter()
        if run.prepare_step(batch, forced, kl_beta):
            self.preparing = time.perf_counter() - began
        return scheduled, forced, run.train_step(batch, forced, kl_beta)

    def recompute_bn_stats(self) -> None:
        """Make the running statistics of BatchNorm those of the weights as they are."""
        self.run.recompute_bn_stats(self.data)

    def tell(self, bar: tqdm, seconds: float) -> None:
        """Say what a step's time tells: how long the run will take, and where it slows down."""
        if mean := self.first_steps.add(seconds):
            say(bar, time_to_the_end(self.run, self.data, mean))
        on_cpu = self.run.compute.device.type == "cpu"
        if on_cpu and (words := self.slowdown.after_step(seconds)):
            say(bar, words)

    def count_seconds(self, seconds: float) -> None:
        """Count what a step took; `sync_stop_and_clock` takes back what it stood still.

        A signal that continues the process may be heard of a moment after the clock was read, and
        so stands for two steps.
        """
        run, epoch, stop = self.run, self.run.epoch_metrics, self.stop
        self.excess = max(0.0, seconds - epoch.seconds / max(1, epoch.batches - 1))
        run.seconds += seconds if distributed.is_main() else 0
        epoch.seconds += seconds
        before, self.continued, stop.continued = self.continued, stop.continued, False
        self.stood_still = self.continued or before

    def end_epoch(self, bar: tqdm) -> None:
        """Validate, log and save after an epoch. A signal before or meanwhile leaves it undone.

        Raises Interrupted then; the epoch counts as begun, and all of this comes when it is
        resumed. A kill leaves it undone too, between any two files: the resume point of before
        gives way last, and whatever was written of the epoch is written again.
        """
        if self.stop.agreed:
            raise Interrupted
        self.check_folder()
        run, saver, settings, epoch = self.run, self.saver, self.run.settings, self.run.epoch
        row = run.epoch_metrics.row() | {"val": dict(self.constants)}
        row["train"] = {"step": run.step} | row["train"]
        last = epoch + 1 == settings.num_epoch if settings.minutes is None else run.time_is_up
        validates = (epoch + 1) % settings.per_val == 0 or last or run.passed_quarter
        names = [f"epoch={epoch}.ckpt"] if epoch % settings.per_save == 0 or last else []
        gifs: dict[str, Path] = {}
        scores: dict[str, list[Scores]] = {}
        if (validates or names) and checkpoint.LAST not in saver.written:
            self.save_resume_point()
        if validates or names:
            stage(bar, f"epoch {epoch}: BatchNorm statistics")
            self.recompute_bn_stats()
        if validates:
            gifs, scores = self.validate_epoch(bar, row)
        at = progress(run)
        self.next_epoch()
        self.tracker.log(epoch, row, gifs, scores)

        names += [checkpoint.BEST] if run.best["epoch"] == epoch else []
        if names or validates or saver.due:
            stage(bar, f"epoch {epoch}: saving")
            state = run.state()
            resume_state = state | run.resume_only_state()
            saver.save(dict.fromkeys(names, state) | {checkpoint.LAST: resume_state})
        if validates:
            say(bar, summary(row, at, run.best))

    def next_epoch(self) -> None:
        """Go on to the next epoch, and its schedules."""
        self.run.end_epoch()

    def validate_epoch(
        self, bar: tqdm, row: dict[str, dict[str, float]]
    ) -> tuple[dict[str, Path], dict[str, list[Scores]]]:
        """Validate and see whether the epoch is the best; return GIFs and scores by set.

        The figures go into the group `val` of `row`.
        """
        run, settings, scores = self.run, self.run.settings, {}
        found = self.validate_all(bar)
        for name, validation in found.items():
            row["val"] |= validation.row(name, row["schedule"]["beta"])
            scores[name] = validation.scores
        psnr = row["val"][f"{run.best['set']}_psnr"]
        if psnr > run.best["psnr"]:
            run.best = run.best | {"psnr": psnr, "epoch": run.epoch}
        if not distributed.is_main():
            return {}, scores
        number = run.epoch if settings.store_visualization else None
        rollouts = {name: validation.predictions for name, validation in found.items()}
        return write_first_gifs(rollouts, self.saver.folder, number), scores

    def validate_all(self, bar: tqdm) -> dict[str, Validation]:
        """Validate on every set, the clips shared out; `bar` tells how far it is.

        Raises Interrupted in all processes, or in none.
        """
        run, shares = self.run, {}
        with contextlib.suppress(Interrupted), self.stop.interruptible():
            shares = {
                name: validate_share(
                    run.model, clips, run.settings, run.compute, validating(bar, run.epoch, name)
                )
                for name, clips in self.sets.items()
            }
        self.sync_stop_and_clock()
        if self.stop.agreed:
            raise Interrupted
        return {name: gather_validation(s, len(self.sets[name])) for name, s in shares.items()}

    def save_resume_point(self) -> None:
        """Write all that an exact continuation needs, as the run stands."""
        self.saver.save({checkpoint.LAST: self.run.resume_state()})

    def sync_stop_and_clock(self) -> None:
        """Let all processes know of a signal to one of them, and go by the first one's clock."""
        run, own = self.run, self.excess if distributed.is_main() else 0.0
        signum, stood_still, excess, run.seconds = distributed.all_reduce_max(
            self.stop.signum, self.stood_still, own, run.seconds
        )
        self.stop.agreed = int(signum)
        if stood_still:
            run.seconds -= excess
            run.epoch_metrics.seconds -= min(self.excess, run.epoch_metrics.seconds / 2)
        self.excess = 0.0


def begin_best(run: Run, judge: str, folder: Path) -> dict:
    """Return the best score so far, or none where it was another set's, which says nothing.

    Where `best.ckpt` is of an earlier epoch, since it could not be written, its own score stands.
    """
    begun = {"set": judge, "holdout": list(run.settings.holdout or ())}
    none = begun | {"psnr": float("-inf"), "epoch": -1}
    try:
        stored = checkpoint.load(folder / checkpoint.BEST).get("best") if run.best else None
    except UserError:
        return none
    found = [best for best in (run.best, stored) if best]
    if not stored or any(best.get(key) != begun[key] for best in found for key in begun):
        return none
    return min(found, key=lambda best: best["epoch"])
