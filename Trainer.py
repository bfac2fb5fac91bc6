"""Train a model: `python Trainer.py --DR ROOT --save_root RUN`. See `--help` and the README."""

from argparse import Namespace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from core import distributed
from core.device import choose_device
from core.errors import UserError, exit_on_user_error
from data.dance import DanceData, DanceWindows
from data.types import Batch, Clip
from engine.checkpoints import checkpoint
from engine.evaluation.metrics import Generate_PSNR
from engine.evaluation.scoring import copy_last, mean_psnr, nearest_pose_prediction
from engine.evaluation.validation import validate
from engine.training import schedules
from engine.training.stages import Stages
from modules.gaussian import kl_criterion
from modules.vae import CVAE, CVAEConfig
from settings import resolve as config
from tasks.robot import Robot_Model
from tasks.stored_models import model_of, seeded_weights, settle_output_activation, stored_config

__all__ = ["Generate_PSNR", "VAE_Model", "kl_annealing", "kl_criterion"]


@exit_on_user_error
def main() -> None:
    with distributed.joined():
        settings = distributed.broadcast_from_main(read_settings)
        face = {"dance": VAE_Model, "svg": Robot_Model}[settings.model]
        model = face(settings).to(choose_device(settings.device))
        model.load_checkpoint()
        if settings.test:
            model.validation_stage()
        else:
            model.training_stage()


def read_settings(argv: list[str] | None = None) -> Namespace:
    """Return the settings from command line, checkpoint, preset and defaults."""
    parser = config.trainer_parser()
    explicit = config.parse_explicit(parser, argv)
    if "DR" not in explicit:
        raise UserError("--DR is missing: the dataset folder, which holds train/, val/ and test/")
    explicit.setdefault("save_root", "checkpoints")
    if explicit.get("test") and "ckpt_path" not in explicit:
        raise UserError("--test validates a checkpoint: say which with --ckpt_path")
    if "ckpt_path" in explicit and "warm_start" in explicit:
        raise UserError("--ckpt_path continues a run, --warm_start begins one: give one of them")
    stored: dict = {}
    if source := explicit.get("ckpt_path") or explicit.get("warm_start"):
        prefer = checkpoint.BEST if explicit.get("test") else checkpoint.LAST
        path, content = checkpoint.find(source, prefer=prefer)
        stored = stored_config(content, path) | {"model": model_of(content)}
        config.check_model_flags(explicit, stored, path)
        if "ckpt_path" in explicit:
            stored = config.stored_settings(content, path) | stored
    settings = config.make_settings(parser, explicit, stored)
    config.check_flags_of_model(explicit, settings.model)
    if settings.model == "dance" and source and "output_activation" not in stored | explicit:
        settings.output_activation = None  # found out on a first frame
    return settings


class VAE_Model(Stages, CVAE):
    """The dance model with the methods that users of the lab call.

    A thin face: the networks are `modules.vae.CVAE`, stages those of `engine.training`. `args`
    is a Namespace of lab flags; what it lacks takes the default. `eval()` is that of `nn.Module`.
    """

    def __init__(self, args: Namespace):
        settings = config.complete(args)
        model = vars(settings) | {"output_activation": settings.output_activation or "sigmoid"}
        with seeded_weights(settings.seed):
            super().__init__(CVAEConfig.from_settings(Namespace(**model)))
        self.begin_stages(settings)

    @property
    def current_epoch(self) -> int:
        return self.run.epoch

    @current_epoch.setter
    def current_epoch(self, epoch: int) -> None:
        self.run.epoch = epoch

    @property
    def tfr(self) -> float:
        return schedules.teacher_forcing_ratio(self.args, self.run.epoch)

    # -------------------------------------------------------------------- data

    @cached_property
    def data(self) -> DanceData:
        return DanceData(self.args)

    def training_data(self, device: torch.device) -> DanceWindows:
        return self.data.training_windows(device)

    def data_digest(self) -> str:
        return self.data.digest()

    def validation_sets(self) -> dict[str, list[Clip]]:
        return self.data.validation_clips()

    def baselines(self, sets: dict[str, list[Clip]]) -> dict[str, float]:
        """Copying frame 0 and the nearest pose: printed, the second for the log as well."""
        baselines = baseline_scores(sets, self.data.training_frames())
        print_baselines(baselines)
        return {
            f"{name}_nearest_pose_psnr": found["nearest pose"]
            for name, found in baselines.items()
            if "nearest pose" in found
        }

    def settle(self, content: dict, path: Path) -> None:
        """Find out what follows the Generator of a lab checkpoint."""
        stored = stored_config(content, path)
        said = stored.get("output_activation", self.args.output_activation)
        settle_output_activation(self, said, self._first_clip, path)
        self.args.output_activation = self.config.output_activation

    def _first_clip(self) -> Clip:
        return next(iter(self.data.validation_clips().values()))[0]

    # ------------------------------------------------------------------- steps

    def training_one_step(self, img: Tensor, label: Tensor, adapt_TeacherForcing: bool) -> Tensor:
        """Take one optimizer step on (B, T, 3, H, W) frames and poses; return the loss."""
        run, device = self.run, self.run.compute.device
        run.set_learning_rate()
        forced = [bool(adapt_TeacherForcing)] * (img.shape[1] - 1)
        beta = schedules.kl_beta(self.args, run.epoch)
        batch = Batch(img.to(device), label.to(device))
        return run.train_step(batch, forced, beta)["loss"]

    @torch.no_grad()
    def val_one_step(self, img: Tensor, label: Tensor) -> Tensor:
        """Roll (B, T, 3, H, W) out by the test's protocol; return the MSE of frames 1 to T − 1."""
        pixels = [(x * 255).round().to("cpu", torch.uint8) for x in (img, label)]
        clips = [Clip(str(k), *pair) for k, pair in enumerate(zip(*pixels))]
        found = validate(self, clips, self.args, self.run.compute)
        predicted = torch.stack(found.predictions)[:, 1:].float() / 255
        return torch.nn.functional.mse_loss(predicted, img[:, 1:].cpu())

    def teacher_forcing_ratio_update(self) -> float:
        """Return the ratio of the current epoch: the schedule is a function of the epoch alone."""
        return self.tfr


class kl_annealing:
    """The lab's face of the KL weight: a counter over `engine.training.schedules.kl_beta`."""

    def __init__(self, args: Namespace, current_epoch: int = 0):
        self.args = config.complete(args)
        self.epoch = current_epoch

    def update(self) -> None:
        """Go on to the next epoch."""
        self.epoch += 1

    def get_beta(self) -> float:
        """Return β of the current epoch."""
        return schedules.kl_beta(self.args, self.epoch)


def baseline_scores(
    sets: dict[str, list[Clip]], train: tuple[np.ndarray, np.ndarray] | None
) -> dict[str, dict]:
    """Return, for every set, the mean PSNR in dB of copying frame 0 and of the nearest pose.

    The second needs training frames and poses to look in, and is left out where there are none.
    """
    found = {}
    for name, clips in sets.items():
        found[name] = {"copy first": mean_psnr(clips, map(copy_last, clips))}
        if train is not None:
            nearest = (nearest_pose_prediction(clip, *train) for clip in clips)
            found[name]["nearest pose"] = mean_psnr(clips, nearest)
    return found


def print_baselines(baselines: dict[str, dict]) -> None:
    judge, scores = next(iter(baselines.items()))
    for name, baseline in baselines.items():
        figures = ", ".join(f"{what} {psnr:.2f} dB" for what, psnr in baseline.items())
        print(f"baselines on {name}: {figures}")
    note = ""
    if judge == "val" and scores["copy first"] > scores.get("nearest pose", 0):
        note = ", where copying does well already: --holdout A:B judges by frames that move"
    print(f"the best checkpoint is chosen by {judge}{note}")


if __name__ == "__main__":
    main()
