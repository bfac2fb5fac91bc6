"""The dance task of a `VAE_Model`: its data are those of the model's loaders where it has own."""

import dataclasses
from typing import Any

import torch

from core.errors import UserError
from data.dance import DanceData
from data.dance_windows import DanceWindows
from data.types import Clip, TrainingData
from engine.checkpoints.checkpoint import Checkpoint
from lab.loaders import LoaderData, clips_of_loader
from lab.model import engine_view
from modules.vae import CVAE
from tasks.dance import DanceTask, baseline_scores, print_baselines

OWN_VALIDATION = "val_one_step"  # the set that a validation of one's own is logged as


class LabTask(DanceTask):
    """Asks the model for what is its own, and the data set for the rest."""

    def __init__(self, owner):
        """owner: a `lab.vae_model.VAE_Model`."""
        super().__init__(owner.args, engine_view(owner))
        self.owner = owner
        self._made: dict[str, Any] = {}

    # -------------------------------------------------------------------- data

    def windows(self) -> DanceWindows:
        """Return the training windows of the arguments as they are now."""
        device = next(self.owner.parameters()).device
        return self._once("windows", lambda: DanceTask.training_data(self, device))

    def clips(self) -> dict[str, list[Clip]]:
        """Return the clips to validate on, of the arguments as they are now."""
        return self._once("clips", lambda: self.data.validation_clips())

    def _once(self, name: str, make) -> Any:
        """Make something of the arguments; they may be assigned to, and it is made anew then."""
        if self.settings.DR is None:
            raise UserError(
                "args.DR is missing: the dataset folder; without one, train_dataloader() and "
                "val_dataloader() have to be one's own"
            )
        asked = str(sorted(vars(self.settings).items()))
        if self._made.get("of") != asked:
            self._made = {"of": asked}
            self.data = DanceData(self.settings)
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]

    def training_data(self, device: torch.device) -> TrainingData:
        owner = self.owner
        if not owner.has_own(*owner.TRAINING_HOOKS):
            return self.windows()
        own_loader = owner.has_own("train_dataloader")
        return LoaderData(owner, device, None if own_loader else self.windows())

    def data_digest(self) -> str:
        if self.owner.has_own("train_dataloader"):
            return f"train_dataloader of {type(self.owner).__qualname__}"
        return super().data_digest()

    def validation_sets(self) -> dict[str, list[Clip]]:
        """Return the clips; of a loader of one's own, those that it yields."""
        own_loader = self.owner.has_own("val_dataloader")
        sets = {"val": clips_of_loader(self.owner.val_dataloader())} if own_loader else self.clips()
        if self.owner.has_own("val_one_step", "eval"):
            return {OWN_VALIDATION: next(iter(sets.values()))}
        return sets

    def baselines(self, sets: dict[str, list[Clip]]) -> dict[str, float]:
        if OWN_VALIDATION in sets:
            print(f"the best checkpoint is chosen by {OWN_VALIDATION}: the lowest mean it returns")
            return {}
        if self.settings.DR is None:  # all data are those of the model's loaders
            print_baselines(baseline_scores(sets, None))
            return {}
        return super().baselines(sets)

    def overview(self, data: TrainingData) -> dict[str, str]:
        if isinstance(data, LoaderData) and data.windows is None:
            steps = f"{data.length:,} steps" if data.length else "as many steps as it yields"
            return {"data": f"train_dataloader() of {type(self.owner).__name__}: {steps} an epoch"}
        return super().overview(getattr(data, "windows", data))

    # ------------------------------------------------------------- checkpoints

    def on_load_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Find out what follows the Generator, where the networks are the lab's."""
        with torch.device("meta"):
            expected = CVAE(self.model.config).state_dict()
        own = self.model.state_dict()
        if {k: v.shape for k, v in own.items()} == {k: v.shape for k, v in expected.items()}:
            super().on_load_checkpoint(checkpoint)
        elif (said := checkpoint.settings.get("output_activation")) is not None:
            self.model.config = dataclasses.replace(self.model.config, output_activation=said)
