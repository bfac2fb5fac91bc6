"""What a model does as a whole: train, validate, save and go on; with its data behind it."""

import functools
from argparse import Namespace
from pathlib import Path

import torch
from torch import nn

from core import distributed
from core.device import choose_compute
from data.types import Clip, TrainingData
from engine.checkpoints import checkpoint
from engine.checkpoints.run_folder import open_run_folder, resume_point
from engine.evaluation.scoring import mean_scores
from engine.evaluation.validation import Validation, validate
from engine.output.tracker import Tracker
from engine.training.loop import check_prediction_buffer, train
from engine.training.run import Run
from settings import resolve as config


class Stages(nn.Module):
    """The stages of a run, beside a model that keeps `engine.contract.Model`.

    A subclass is a model as well, calls `begin_stages` when it has been made, and says where its
    data are by the methods of the first part.
    """

    # -------------------------------------------------------------------- data

    def training_data(self, device: torch.device) -> TrainingData:
        """Return what to train on."""
        raise NotImplementedError

    def data_digest(self) -> str:
        """Return what tells one training set from another."""
        raise NotImplementedError

    def validation_sets(self) -> dict[str, list[Clip]]:
        """Return the clips to validate on by name; the first set chooses `best.ckpt`."""
        raise NotImplementedError

    def baselines(self, sets: dict[str, list[Clip]]) -> dict[str, float]:
        """Print what no model at all would score, and return columns of it for the log."""
        raise NotImplementedError

    def settle(self, content: dict, path: Path) -> None:
        """Find out what a loaded checkpoint leaves open. Most leave nothing."""

    # ------------------------------------------------------------------ stages

    def begin_stages(self, settings: Namespace) -> None:
        """Take the settings, from which nothing of the run has been made yet."""
        self.args = settings
        self.identity = config.identity(settings)  # before a checkpoint changes anything
        self.continued_from: Path | None = None
        self._run: Run | None = None

    @property
    def run(self) -> Run:
        """The optimizer and counters; made on first use, when the model is on its device."""
        if self._run is None:
            device = next(self.parameters()).device
            self._run = Run(
                self, self.args, choose_compute(device, self.args.precision, self.args.compile)
            )
        return self._run

    def training_stage(self) -> None:
        """Train to the last epoch: validates, logs and saves into `args.save_root`.

        Raises SystemExit where a signal stopped it, with everything saved.
        """
        run, settings = self.run, self.args
        if run.finished:
            length = "minutes" if settings.minutes else "num_epoch"
            print(
                f"{self.continued_from} is trained to its end (--{length} "
                f"{getattr(settings, length):g}); raise --{length} to train on, or begin anew "
                "with --resume never"
            )
            return
        print_global_batch_size(settings)
        sets = distributed.local_main_process_first(self.validation_sets)
        data = distributed.local_main_process_first(lambda: self.training_data(run.compute.device))
        check_prediction_buffer(run, data)  # before anything is written
        run.identity = distributed.broadcast_from_main(lambda: self.identity_with_data)
        constants = distributed.broadcast_from_main(lambda: self.baselines(sets))
        with open_run_folder(settings, continued_from=self.continued_from) as folder:
            artifacts = (checkpoint.BEST, checkpoint.LAST)
            tracker = Tracker(folder, config.as_plain(settings), run.epoch, artifacts)
            try:
                train(run, data, sets, tracker, folder, constants)
            finally:
                tracker.close()
        print(f"best.ckpt: epoch {run.best['epoch']}, {run.best['set']} {run.best['psnr']:.2f} dB")

    def validation_stage(self) -> dict[str, Validation]:
        """Validate as the test does, print the scores beside the baselines and return them."""
        sets = distributed.local_main_process_first(self.validation_sets)
        distributed.broadcast_from_main(lambda: self.baselines(sets))
        found = {
            name: validate(self, clips, self.args, self.run.compute) for name, clips in sets.items()
        }
        for name, validation in found.items():
            means = mean_scores(validation.scores)
            print(f"{name}: {means['psnr']:.2f} dB, SSIM {means['ssim']:.4f}")
        return found

    # ------------------------------------------------------------- checkpoints

    def save(self, path: str) -> None:
        """Write a checkpoint with the lab's keys and ours."""
        checkpoint.save(Path(path), self.run.state())

    def load_checkpoint(self) -> None:
        """Go on where the same command stopped, else from `args.ckpt_path`, where given.

        `args.warm_start` gives the weights alone. See `--resume`.
        """
        args, start = self.args, distributed.broadcast_from_main(self._starting_point)
        if start is None:
            return
        path, content, here = start
        if here or args.ckpt_path is not None:
            self.run.restore(content, path)
            self.continued_from = path
        else:
            checkpoint.load_weights(self, content, path)
        if here:  # a run that began from a lab file has its rates from there
            settings = config.stored_settings(content, path)
            args.lr, args.tfr = settings.get("lr", args.lr), settings.get("tfr", args.tfr)
        self.settle(content, path)

    def _starting_point(self) -> tuple[Path, dict, bool] | None:
        """Return the checkpoint to start from, and whether it is where this command stopped."""
        args = self.args
        trains = not args.test and args.DR is not None
        here = resume_point(args, self.identity_with_data) if trains else None
        if here is not None:
            path, content = here
            print(f"going on from {path}, step {content['step']} (--resume never begins anew)")
            return path, content, True
        if (source := args.ckpt_path or args.warm_start) is None:
            return None
        prefer = checkpoint.BEST if args.test else checkpoint.LAST
        return *checkpoint.find(source, prefer=prefer), False

    @functools.cached_property
    def identity_with_data(self) -> dict:
        """What makes this run what it is; looks at every file of the data, and so once."""
        return self.identity | {"data": self.data_digest()}


def print_global_batch_size(settings: Namespace) -> None:
    """Say what a step is made of where several processes share it."""
    if (processes := distributed.world_size()) > 1:
        print(
            f"{processes} processes × --batch_size {settings.batch_size} = "
            f"{processes * settings.batch_size} windows a step. --lr {settings.lr:g} is not scaled "
            "with that; the usual rule for Adam is × √k for k times the windows, and a longer "
            "--lr_warmup"
        )
