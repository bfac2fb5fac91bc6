"""What is done with a task as a whole: train, validate, save and resume."""

import functools
from collections.abc import Callable
from pathlib import Path

from core import distributed
from core.device import Compute
from core.threads import choose_threads
from engine.checkpoints import checkpoint
from engine.checkpoints.checkpoint import Checkpoint
from engine.checkpoints.run_folder import open_run_folder, resume_point
from engine.evaluation.scoring import mean_scores
from engine.evaluation.validation import Validation, validate
from engine.output.tracker import Tracker, check_logs, continued_logs
from engine.output.watching import watched
from engine.training.loop import TrainingLoop
from engine.training.overview import print_overview, print_timed_steps
from engine.training.prediction_buffer import check_prediction_buffer
from engine.training.run import Run
from engine.training.step_memory import check_step_memory
from engine.training.task import TrainedTask
from settings.fingerprint import run_fingerprint


class Trainer:
    """Trains, validates, saves and resumes a task.

    source: the checkpoint of `--ckpt_path` or `--warm_start`, where it has been read already.
    loop: makes the training loop, for who trains by one of their own.
    """

    loop: Callable[..., TrainingLoop] = TrainingLoop

    def __init__(self, task: TrainedTask, compute: Compute, source: Checkpoint | None = None):
        self.task = task
        self.settings = task.settings
        self.run = Run(task.model, task.settings, compute, task.architecture)
        self.continued_from: Path | None = None
        self._source = source

    # ------------------------------------------------------------------ stages

    def fit(self) -> None:
        """Train to the last epoch: validates, logs and saves into `--save_root`.

        Raises SystemExit with 143 or 130 where a signal stopped it, with everything saved;
        UserError where training diverges or the last checkpoint cannot be written.
        """
        run, settings, task = self.run, self.settings, self.task
        if run.finished:
            length = "minutes" if settings.minutes else "num_epoch"
            print(
                f"{self.continued_from} is trained to its end (--{length} "
                f"{getattr(settings, length):g}); raise --{length} to train on, or begin anew "
                "with --resume never"
            )
            return
        threads = choose_threads(settings.threads, run.compute.device, run.threads)
        if run.threads not in (None, threads.number):
            print(
                f"trained on {run.threads} threads so far, from here on {threads.number}: results "
                f"may differ in the last bits (--threads {run.threads} keeps them)"
            )
        print_global_batch_size(settings)
        sets = distributed.local_main_process_first(task.validation_sets)
        data = task.training_data(run.compute.device)
        check_prediction_buffer(run.prediction_buffer, data, settings)  # before anything is written
        memory = None
        if getattr(data, "tried_ahead", True):
            memory = check_step_memory(run, data, next(iter(sets.values()))[0].n_past)
        print_overview(task, run, data, sets, threads, memory)
        if settings.dry_run:
            print_timed_steps(run, data)
            return
        run.fingerprint = distributed.broadcast_from_main(lambda: self.fingerprint)
        constants = distributed.broadcast_from_main(lambda: task.baselines(sets))
        folder = Path(settings.save_root)
        logged = distributed.broadcast_from_main(
            lambda: continued_logs(run.plain_settings(), folder, self.continued_from)
        )
        distributed.broadcast_from_main(lambda: check_logs(logged))
        with open_run_folder(
            folder,
            run.plain_settings(),
            continued_from=self.continued_from,
            source=self._source.path if self._source else None,
        ) as check_folder:
            artifacts = (checkpoint.BEST, checkpoint.LAST)
            tracker = Tracker(folder, logged, run.epoch, artifacts)
            try:
                self.loop(
                    run, data, sets, tracker, folder, constants, threads, check_folder
                ).train()
            finally:
                tracker.close()
        if run.best["epoch"] >= 0:
            score = f"{run.best['set']} {checkpoint.best_score(run.best)}"
            print(f"best.ckpt: epoch {run.best['epoch']}, {score}")

    def validate(self) -> dict[str, Validation]:
        """Validate as the test does, print the scores beside the baselines and return them."""
        choose_threads(self.settings.threads, self.run.compute.device)
        sets = distributed.local_main_process_first(self.task.validation_sets)
        distributed.broadcast_from_main(lambda: self.task.baselines(sets))
        found = {}
        for name, clips in sets.items():
            with watched(name) as watch:
                found[name] = validate(
                    self.run.model, clips, self.settings, self.run.compute, watch
                )
        for name, validation in found.items():
            means = mean_scores(validation.scores)
            print(f"{name}: {means['psnr']:.2f} dB, SSIM {means['ssim']:.4f}")
        return found

    # ------------------------------------------------------------- checkpoints

    def save(self, path: Path) -> None:
        """Write a checkpoint with the lab's keys and ours."""
        checkpoint.save(path, self.run.state())

    def load_checkpoint(self) -> None:
        """Go on where the same command stopped, else from `--ckpt_path`, where given.

        `--warm_start` gives the weights alone. See `--resume`.
        """
        run, start = self.run, distributed.broadcast_from_main(self._starting_point)
        if start is None:
            return
        source, is_resumed = start
        if is_resumed or self.settings.ckpt_path is not None:
            run.restore(source)
            self.continued_from = source.path
        else:
            checkpoint.load_weights(run.model, source)
        if is_resumed:  # a run that began from a lab file has its rates from there
            run.initial_lr = source.settings.get("lr", run.initial_lr)
            run.initial_tfr = source.settings.get("tfr", run.initial_tfr)
        self.task.on_load_checkpoint(source)

    def _starting_point(self) -> tuple[Checkpoint, bool] | None:
        """Return the checkpoint to start from, and whether it is where this command stopped."""
        settings = self.settings
        if not settings.test and settings.DR is not None:
            found = resume_point(settings, lambda: self.fingerprint)
            if found is not None:
                step = found.content["step"]
                print(f"going on from {found.path}, step {step} (to begin anew: --resume never)")
                return found, True
        if (path := settings.ckpt_path or settings.warm_start) is None:
            return None
        prefer = checkpoint.BEST if settings.test else checkpoint.LAST
        return self._source or checkpoint.find(path, prefer=prefer), False

    @functools.cached_property
    def fingerprint(self) -> dict:
        """What makes this run what it is; looks at every file of the data, and so once."""
        settings = run_fingerprint(self.settings, distributed.world_size())
        return settings | {"data": self.task.data_digest()}


def print_global_batch_size(settings) -> None:
    """Say what a step is made of where several processes share it."""
    if (processes := distributed.world_size()) > 1:
        print(
            f"{processes} processes × --batch_size {settings.batch_size} = "
            f"{processes * settings.batch_size} windows a step. --lr {settings.lr:g} is not scaled "
            "with that; the usual rule for Adam is × √k for k times the windows, and a longer "
            "--lr_warmup"
        )
