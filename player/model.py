"""The model that is played: loaded from a checkpoint, stepped a frame at a time.

The one file of the player that knows checkpoints and models. Dimensions: P pictures side by side
(samples), H×W frame size; a condition is a pose image (H, W, 3) uint8, or K numbers.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from core.device import Compute, choose_compute, choose_device
from core.errors import UserError
from data.types import Clip, to_float
from engine.checkpoints import checkpoint
from engine.checkpoints.checkpoint import trained_on
from engine.evaluation.rollout import PriorNoise, Stepper, to_uint8
from settings.flags import tester_parser
from settings.resolve import Settings, make_settings
from tasks import task_of
from tasks.output_activation import settle_output_activation

LARGEST_SIDE = 512  # pixels of a frame; a page draws no larger ones live


@dataclass(frozen=True)
class PlayedModel:
    """A model in evaluation mode with all that is said of it."""

    kind: str  # dance or robot
    model: nn.Module
    compute: Compute
    settings: dict  # of its run, as far as it says them
    height: int
    width: int
    n_past: int
    about: str
    trained_on: str
    path: Path
    of_lab: bool = False  # it does not say what follows its Generator


@dataclass(frozen=True)
class Latent:
    """How z is chosen: the prior's mean, or a sample by (seed, picture, frame)."""

    z: str = "mean"
    temperature: float = 1.0
    seed: int = 0


def load(path: str, device: str = "auto", precision: str = "fp32") -> PlayedModel:
    """Load a checkpoint file, a `.safetensors` file, or the best checkpoint of a run folder.

    Raises UserError for what is no checkpoint, does not fit its settings or is too large to play.
    """
    found = checkpoint.find(path, prefer=checkpoint.BEST)
    task, place = task_of(found), found.path
    stored = found.settings | task.stored_architecture(found) | {"model": task.name}
    settings = make_settings(tester_parser(), {}, stored)
    robot = task.name == "svg"
    height, width = settings.frame_H, settings.frame_W
    if max(height, width) > LARGEST_SIDE:
        raise UserError(
            f"{place}: its frames are {height}×{width}, and {LARGEST_SIDE} pixels a side is the "
            "most that is played live; take a checkpoint of smaller frames"
        )
    model = task.build_model(settings)
    checkpoint.load_weights(model, found)
    compute = choose_compute(choose_device(device), precision, "off")
    compute.prepare(model.eval())
    said = found.content if found.is_ours else {}
    data = trained_on(found)
    return PlayedModel(
        "robot" if robot else "dance",
        model,
        compute,
        stored,
        height,
        width,
        model.config.n_past if robot else 1,
        _about(model, said, data, height, width),
        data,
        place,
        of_lab=not found.is_ours,
    )


def _about(model: nn.Module, said: dict, trained_on: str, height: int, width: int) -> str:
    """Say in a line what is played: the model, its best score, how long it trained and on what."""
    size = sum(weight.numel() for weight in model.parameters()) / 1e6
    words = [f"{type(model).__name__}, {size:.2f} M parameters, {height}×{width}"]
    if best := said.get("best"):
        words.append(f"{best['psnr']:.2f} dB PSNR on {best['set']}")
    minutes = f" {said['seconds'] / 60:.0f} min" if said.get("seconds") else ""
    return " · ".join([*words, f"trained{minutes} on {trained_on}"])


def settings_for(played: PlayedModel, root: str, cache_dir: str | None) -> Settings:
    """Return the settings with which the data of `root` are read for this model."""
    explicit = {"DR": root, "holdout": None}
    if cache_dir:
        explicit["cache_dir"] = cache_dir
    return make_settings(tester_parser(), explicit, played.settings)


def settle(played: PlayedModel, frame: np.ndarray, pose: np.ndarray) -> None:
    """Judge what follows the Generator of a lab checkpoint by a first frame (H, W, 3) uint8."""
    if played.of_lab:
        images = (torch.from_numpy(np.array(x)).permute(2, 0, 1)[None] for x in (frame, pose))
        clip = Clip("first", *images)
        settle_output_activation(played.model, None, lambda: clip, played.path)


class LiveRollout:
    """The rollout of a session. Its steps are those of the Tester: the same `Stepper`."""

    def __init__(self, played: PlayedModel, frames: np.ndarray, conditions: np.ndarray):
        """Begin at context frames (n_past, P, H, W, 3) uint8; conditions (n_past, …) led there."""
        self.played = played
        self.pictures = frames.shape[1]
        with torch.inference_mode(), played.compute.autocast():
            known = torch.from_numpy(np.array(frames)).to(played.compute.device)
            known = to_float(known.permute(0, 1, 4, 2, 3))  # (n_past, P, 3, H, W)
            self._stepper = Stepper(played.model, known)
        for condition in conditions[1:]:
            self.step(condition, Latent())

    def step(self, condition: np.ndarray, latent: Latent) -> np.ndarray:
        """Predict the next frame of every picture: (P, H, W, 3) uint8."""
        played, P = self.played, self.pictures
        device = played.compute.device
        # The samples of a sequence are (sequence, sample) to the Tester; so are they here.
        draws = [(k, 0) if played.kind == "robot" else (k,) for k in range(P)]
        noise = PriorNoise(latent.z, latent.temperature, latent.seed, draws)
        with torch.inference_mode(), played.compute.autocast():
            given = torch.from_numpy(np.array(condition)).to(device)
            if played.kind == "dance":
                given = given.permute(2, 0, 1)
            given = to_float(given.expand(P, 1, *given.shape))
            feature = played.model.encode_conditions(given)[:, 0]
            steps = range(self._stepper.t + 1, self._stepper.t + 2)
            drawn = noise(played.model.latent_shape, steps, device)[:, 0]
            frame = to_uint8(self._stepper.step(feature, drawn))
        return frame.permute(0, 2, 3, 1).cpu().numpy()
