"""The robot: the SVG model of actions and end-effector positions with its data."""

from typing import Any

import torch

from core.device import Compute
from core.distributed import local_main_process_first
from core.errors import UserError
from data.robot import RobotData, RobotWindows
from data.types import Clip
from engine.checkpoints.checkpoint import Checkpoint
from engine.evaluation.scoring import copy_last, mean_psnr
from modules.svg import SVG, SVGConfig
from settings.resolve import Settings
from tasks.base import Task, check_shapes
from tasks.robot_test import sample_test


class RobotTask(Task):
    """Predict what a robot arm does from context frames and what it is told to do."""

    name = "svg"
    model: SVG

    def __init__(self, settings: Settings, model: SVG | None = None):
        super().__init__(settings, model)
        self.data = RobotData(settings)

    # ------------------------------------------------------------------- model

    @classmethod
    def build_model(cls, settings: Settings) -> SVG:
        return SVG(SVGConfig.from_settings(settings))

    @classmethod
    def stored_architecture(cls, checkpoint: Checkpoint) -> dict[str, Any]:
        if "predictor.lstm.weight_ih_l0" not in checkpoint.content["state_dict"]:
            raise UserError(
                f"{checkpoint.path}: its settings say --model svg, its weights are not of it"
            )
        stored, fields = checkpoint.settings, SVGConfig.__dataclass_fields__
        found = {name: stored.get(name, field.default) for name, field in fields.items()}
        check_shapes(checkpoint, lambda: SVG(SVGConfig(**found)))
        return found

    # -------------------------------------------------------------------- data

    def training_data(self, device: torch.device) -> RobotWindows:
        return local_main_process_first(
            lambda: RobotWindows(self.settings, device, self.data)
        ).place()

    def data_digest(self) -> str:
        return self.data.digest()

    def validation_sets(self) -> dict[str, list[Clip]]:
        first = self.settings.val_sequences or None
        return {"validate": self.data.clips("validate", first)}

    def baselines(self, sets: dict[str, list[Clip]]) -> dict[str, float]:
        """Copying the last context frame, which is in the log beside every score already."""
        for name, clips in sets.items():
            copied = mean_psnr(clips, map(copy_last, clips))
            print(f"baselines on {name}: copying the last context frame {copied:.2f} dB")
        return {}

    def overview(self, data: RobotWindows) -> dict[str, str]:
        settings = self.settings
        return {
            "windows": f"{settings.n_past} context frames and {settings.n_future} to predict, of "
            f"{len(data.sequences):,} sequences"
        }

    # -------------------------------------------------------------------- test

    def test(self, checkpoint: Checkpoint, compute: Compute) -> None:
        sample_test(self, checkpoint, compute)
