"""Speed of the robot model's training and sampling: `python -m benchmarks.robot_speed`.

Every row is a ratio to the plain reference (tests/support/robot_reference.py: float32, one step of
a window after the other, both frames encoded at every step) in the same run. The ways take turns,
so that other work on the machine meets all of them; of each the best turn counts. On a CPU the time
is that of the process, which other work disturbs less than the clock on the wall.
"""

import argparse
import os
import time
from collections.abc import Callable

import pandas as pd
import torch

from benchmarks.speed import cpu_name, peak_memory
from core.device import Compute, choose_device
from data.types import Batch, Clip, to_float
from engine.evaluation.rollout import rollout
from engine.training.run import Run
from modules.svg import SVG, SVGConfig
from settings.flags import trainer_parser
from settings.resolve import make_settings
from tests.support import robot_reference as reference


def settings_of(preset: str, batch: int):
    flags = {"model": "svg", "preset": preset, "batch_size": batch, "n_eval": 12}
    return make_settings(trainer_parser(), flags)


def random_batch(settings, device: torch.device) -> Batch:
    """Return noise as frames, laid out in memory as the data loader does."""
    T, B = settings.train_vi_len, settings.batch_size
    pixels = torch.randint(0, 256, (T, B, 64, 64, 3), dtype=torch.uint8, device=device)
    conditions = torch.randn(B, T, 7, device=device)
    return Batch(to_float(pixels).permute(1, 0, 4, 2, 3), conditions)


def training(settings, compute: Compute, forced: bool) -> Callable[[], None]:
    """Return a step of the engine."""
    run = Run(SVG(SVGConfig.from_settings(settings)), settings, compute)
    batch = random_batch(settings, compute.device)
    flags = [forced] * (settings.train_vi_len - 1)
    return lambda: run.train_step(batch, flags, 1e-4)


def plain_training(settings, device: torch.device, forced: bool) -> Callable[[], None]:
    """Return a step of the obvious loop."""
    model = SVG(SVGConfig.from_settings(settings)).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=settings.lr)
    batch = random_batch(settings, device)
    frames, conditions = batch.frames.contiguous(), batch.conditions
    B, T = frames.shape[:2]

    def step() -> None:
        noise = torch.randn(B, T - 1, *model.latent_shape, device=device)
        flags = [forced] * (T - 1)
        loss, metrics, _ = reference.training_loss(
            model, frames, conditions, teacher_forcing=flags, kl_beta=1e-4, noise=noise
        )
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        for value in (loss, *metrics.values()):
            value.item()

    return step


def sampling(settings, compute: Compute, samples: int) -> Callable[[], None]:
    """Return a rollout of many samples of a sequence as one batch."""
    model = compute.prepare(SVG(SVGConfig.from_settings(settings))).eval()
    T = settings.n_eval
    clip = Clip("0", torch.randint(0, 256, (T, 3, 64, 64)).byte(), torch.randn(T, 7), 2)
    draws = [(0, n) for n in range(samples)]
    return lambda: rollout(model, [clip] * samples, compute=compute, draws=draws)


def plain_sampling(settings, device: torch.device, samples: int) -> Callable[[], None]:
    """Return the obvious rollouts, one sample after the other."""
    model = SVG(SVGConfig.from_settings(settings)).to(device).eval()
    T = settings.n_eval
    frames, conditions = torch.rand(T, 3, 64, 64, device=device), torch.randn(T, 7, device=device)

    def work() -> None:
        for _ in range(samples):
            noise = torch.randn(T, settings.z_dim, device=device)
            reference.rollout(model, frames[:2], conditions, noise).cpu()

    return work


def take_turns(
    ways: dict[str, Callable[[], None]], clips: int, device: torch.device, turns: int
) -> pd.DataFrame:
    """Time the ways in turn after one turn that does not count; clips/s by each one's best."""
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    best = dict.fromkeys(ways, float("inf"))
    for turn in range(turns + 1):
        for name, work in ways.items():
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            began = clock()
            work()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if turn:
                best[name] = min(best[name], clock() - began)
    table = pd.DataFrame({"clips/s": {name: clips / seconds for name, seconds in best.items()}})
    table["x plain"] = table["clips/s"] / table["clips/s"].iloc[0]
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--batch_size", type=int, default=12)
    parser.add_argument("--samples", type=int, default=20)
    parser.add_argument("--preset", choices=["lab", "quick"], nargs="+", default=["lab", "quick"])
    flags = parser.parse_args()
    device = choose_device(flags.device)
    on_gpu = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if on_gpu else cpu_name()
    threads = f"{torch.get_num_threads()} threads on {os.cpu_count()} cores"
    print(f"{name}, {threads}, torch {torch.__version__}")

    ways = {"fp32": Compute(device), "bf16": Compute(device, bf16=True)}
    if on_gpu:
        ways["bf16 compiled"] = Compute(device, bf16=True, compiled=True)
    for preset in flags.preset:
        settings = settings_of(preset, flags.batch_size)
        for forced in (True, False):
            title = f"training, {preset} widths, {flags.batch_size} x {settings.train_vi_len}"
            title += ", teacher forcing" if forced else ", no teacher forcing"
            of = {"plain": plain_training(settings, device, forced)}
            of |= {way: training(settings, c, forced) for way, c in ways.items()}
            show(title, take_turns(of, flags.batch_size, device, flags.turns))
        of = {"plain": plain_sampling(settings, device, flags.samples)}
        of |= {way: sampling(settings, c, flags.samples) for way, c in ways.items()}
        title = f"sampling, {preset} widths, {flags.samples} samples of {settings.n_eval} frames"
        show(title, take_turns(of, flags.samples, device, flags.turns))
    print(f"\npeak memory of all: {peak_memory(device):.0f} MiB")


def show(title: str, table: pd.DataFrame) -> None:
    print(f"\n{title}\n{table.to_string(float_format=lambda value: f'{value:,.2f}')}", flush=True)


if __name__ == "__main__":
    main()
