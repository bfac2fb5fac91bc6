"""The robot model with its data behind it, as the scripts train it."""

from argparse import Namespace

import torch

from dataloader import RobotWindows, robot_clips, robot_data_digest
from engine.contract import Clip
from engine.scoring import copy_last, mean_scores, score
from engine.stages import Stages
from models import seeded_weights
from modules.svg import SVG, SVGConfig


class Robot_Model(Stages, SVG):
    """`modules.svg.SVG` with the stages of a run. `args` are settings of `--model svg`."""

    def __init__(self, args: Namespace):
        with seeded_weights(args.seed):
            super().__init__(SVGConfig.from_settings(args))
        self.begin_stages(args)

    def training_data(self, device: torch.device) -> RobotWindows:
        return RobotWindows(self.args, device)

    def data_digest(self) -> str:
        return robot_data_digest(self.args)

    def validation_sets(self) -> dict[str, list[Clip]]:
        return {"validate": robot_clips(self.args, "validate", self.args.val_sequences or None)}

    def baselines(self, sets: dict[str, list[Clip]]) -> dict[str, float]:
        """Copying the last known frame, which is in the log beside every score already."""
        for name, clips in sets.items():
            copied = mean_scores([score(clip, copy_last(clip)) for clip in clips])["psnr"]
            print(f"baselines on {name}: copying the last known frame {copied:.2f} dB")
        return {}
