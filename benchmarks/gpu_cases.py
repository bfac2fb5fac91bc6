"""Runs, batches and clips of noise that the benchmarks of a GPU take."""

import dataclasses
from collections.abc import Callable

import torch
from torch import nn

from core.device import Compute
from data.types import Batch, Clip
from engine.training.prediction_buffer import PredictionBuffer
from engine.training.run import Run
from modules.svg import SVG, SVGConfig
from modules.vae import CVAE, CVAEConfig
from settings.flags import trainer_parser
from settings.resolve import Settings, make_settings

CPU = torch.device("cpu")


@dataclasses.dataclass(frozen=True)
class Case:
    """A training step: flags, and whether it is teacher forced."""

    name: str
    flags: dict
    forced: bool = False

    def settings(self, **others) -> Settings:
        return make_settings(trainer_parser(), self.flags | {"device": "cpu"} | others)


LAB = {"preset": "lab", "batch_size": 4}
CASES = [
    Case("quick, 16 × 2", {"preset": "quick"}),
    Case("quick, 64 × 2", {"preset": "quick", "batch_size": 64}),
    Case("quick, 16 × 2, AdamW", {"preset": "quick", "optim": "AdamW"}),
    Case("large, 32 × 2", {"preset": "large"}),
    Case("large, 64 × 2", {"preset": "large", "batch_size": 64}),
    Case("lab's widths, 4 × 16, forced", LAB, forced=True),
    Case("lab's widths, 4 × 16, rolled out", LAB),
    Case("robot, lab, 12 × 12, forced", {"model": "svg", "preset": "lab"}, forced=True),
    Case("robot, lab, 12 × 12, rolled out", {"model": "svg", "preset": "lab"}),
]
TINY = {"F_dim": 16, "L_dim": 8, "N_dim": 4, "D_out_dim": 24, "frame_H": 16, "frame_W": 16}
TINY_ROBOT = {"vgg_width": 2, "g_dim": 8, "z_dim": 4, "rnn_size": 16, "n_past": 2, "n_future": 3}


def small(case: Case) -> Case:
    """Return the case at widths that a CPU steps through in a moment."""
    if case.flags.get("model") == "svg":
        return dataclasses.replace(case, flags=case.flags | TINY_ROBOT | {"batch_size": 2})
    length = {"train_vi_len": 4} if case.flags["preset"] == "lab" else {}
    return dataclasses.replace(case, flags=case.flags | TINY | length | {"batch_size": 4})


def model_of(settings: Settings) -> nn.Module:
    """Return the model, with the same weights every time."""
    torch.manual_seed(0)
    if settings.model == "svg":
        return SVG(SVGConfig.from_settings(settings))
    return CVAE(CVAEConfig.from_settings(settings))


def begin(settings: Settings, compute: Compute) -> tuple[Run, Batch]:
    """Return a run, and a batch that is the same on every device, laid out as data are."""
    run = Run(model_of(settings), settings, compute)
    generator = torch.Generator().manual_seed(1)
    T, B = settings.train_vi_len, settings.batch_size
    shape = (T, B, settings.frame_H, settings.frame_W, 3)
    pixels = [torch.randint(256, shape, dtype=torch.uint8, generator=generator) for _ in range(2)]
    frames, poses = (x.to(compute.device) for x in pixels)
    if settings.prediction_buffer:
        run.prediction_buffer = PredictionBuffer(frames.flatten(0, 1))
    frames, poses = (x.float().div(255).permute(1, 0, 4, 2, 3) for x in (frames, poses))
    if settings.model == "svg":
        poses = torch.randn(B, T, 7, generator=generator).to(compute.device)
    index = torch.arange(T * B, device=compute.device).view(T, B)
    return run, Batch(frames, poses, index)


def stepping(run: Run, batch: Batch, forced: bool, prepared: bool = True) -> Callable[[], dict]:
    """Return what takes a step as training does; prepared: compiled and recorded before."""
    flags = [forced] * (batch.frames.shape[1] - 1)
    beta = torch.full((), 1e-4, device=run.compute.device)
    run.schedule()
    if prepared:
        run.prepare_step(batch, flags, beta)

    def step() -> dict:
        run.schedule()
        return run.train_step(batch, flags, beta)

    return step


def clips_of(settings: Settings, sequences: int, frames: int) -> list[Clip]:
    """Return clips of noise with all their frames."""
    generator = torch.Generator().manual_seed(2)
    shape = (sequences, frames, 3, settings.frame_H, settings.frame_W)
    pixels, poses = (
        torch.randint(256, shape, dtype=torch.uint8, generator=generator) for _ in range(2)
    )
    return [Clip(str(k), pixels[k], poses[k]) for k in range(sequences)]
