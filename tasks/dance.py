"""The dance: the CVAE of pose images with its data."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from core.device import Compute
from core.distributed import local_main_process_first
from core.errors import UserError
from data.dance import DanceData
from data.dance_windows import DanceWindows
from data.types import Clip
from data.warp import median_background
from engine.checkpoints import checkpoint as files
from engine.checkpoints.checkpoint import Checkpoint
from engine.evaluation.scoring import copy_last, mean_psnr, nearest_pose_prediction
from modules.vae import CVAE, CVAEConfig
from settings.resolve import Settings, check_values
from tasks.base import Task, check_shapes
from tasks.dance_test import roll_out_test
from tasks.dance_tta import TestTimeAugmentation
from tasks.output_activation import settle_output_activation


class DanceTask(Task):
    """Predict a dancer from one frame and a sequence of pose images."""

    name = "cvae"
    model: CVAE

    def __init__(self, settings: Settings, model: CVAE | None = None):
        super().__init__(settings, model)
        self.data = DanceData(settings)

    # ------------------------------------------------------------------- model

    @classmethod
    def build_model(cls, settings: Settings) -> CVAE:
        return CVAE(CVAEConfig.from_settings(settings), cauchy_scale=settings.cauchy_scale)

    @classmethod
    def stored_architecture(cls, checkpoint: Checkpoint) -> dict[str, Any]:
        """Return the settings that the weights fix; of a lab file, those that they show."""
        path = checkpoint.path
        try:
            shown = {}  # of several scales the settings alone say it
            if checkpoint.settings.get("scales", 1) == 1:
                shown = CVAEConfig.widths_of(checkpoint.content["state_dict"])
        except (KeyError, IndexError) as error:
            raise UserError(f"{path}: not a checkpoint of the dance model (no {error})") from None
        if not checkpoint.is_ours:
            found = check_values(shown, path) | {
                "patch_size": 1,
                "positional_bias": False,
                "scales": 1,
            }
        else:
            stored, fields = checkpoint.settings, CVAEConfig.__dataclass_fields__
            found = {name: stored.get(name, field.default) for name, field in fields.items()}
        for name, width in shown.items():
            if found[name] != width:
                raise UserError(
                    f"{path}: its settings say {name} = {found[name]}, its weights {width}"
                )
        check_shapes(checkpoint, lambda: CVAE(CVAEConfig(**found)))
        return found

    def on_load_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Find out what follows the Generator of a lab checkpoint."""
        self.settle_output(checkpoint, lambda: next(iter(self.validation_sets().values()))[0])

    def settle_output(self, checkpoint: Checkpoint, clip: Callable[[], Clip]) -> None:
        """Take the output activation that is stored, or said, or fits the first frame of a clip.

        So of every model, where the checkpoint comes with others.
        """
        for task, one in zip((self, *self.others), checkpoint.every):
            stored = self.stored_architecture(one)
            said = stored.get("output_activation", task.settings.output_activation)
            settle_output_activation(task.model, said, clip, one.path)

    # -------------------------------------------------------------------- data

    def training_data(self, device: torch.device) -> DanceWindows:
        return local_main_process_first(
            lambda: DanceWindows(self.settings, device, self.data)
        ).place()

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

    def overview(self, data: DanceWindows) -> dict[str, str]:
        recordings = data.recordings_in(0)
        length, pieces = self.settings.train_vi_len, len(recordings)
        return {
            "windows": f"{data.windows_in(0):,} of {length} frames an epoch, in {pieces} "
            f"recording{'s' * (pieces > 1)} of {sum(b - a for a, b in recordings):,} frames"
        }

    # -------------------------------------------------------------------- test

    def tested_model(self, compute: Compute) -> nn.Module:
        """Return the model to roll out, with --tta as the mean over views of its input."""
        model = super().tested_model(compute)
        if not self.settings.tta:
            return model
        found = self.data.training_frames()
        if found is None:
            raise UserError(
                "--tta needs train/ in --DR: from its frames it knows the background before which "
                "the person is flipped"
            )
        background = torch.from_numpy(median_background(*found) / 255).permute(2, 0, 1)
        flip = all(one.settings.augment and one.settings.flip_prob for one in (self, *self.others))
        return TestTimeAugmentation(model, background.to(compute.device), flip=flip).eval()

    def test(self, checkpoint: Checkpoint, compute: Compute) -> None:
        roll_out_test(self, checkpoint, compute)

    @classmethod
    def export_lab(cls, checkpoint: Checkpoint, path: str, *, overwrite: bool) -> None:
        stored = cls.stored_architecture(checkpoint)
        if stored["patch_size"] != 1 or stored["positional_bias"] or stored["scales"] != 1:
            raise UserError(
                "--export_lab: the lab's code knows no --patch_size, --positional_bias or --scales"
            )
        files.export_lab(checkpoint.content, Path(path), overwrite=overwrite)
        print(f"{path}: {', '.join(files.LAB_KEYS)}")


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
