"""Speed of training, rollout and data loading: `python -m benchmarks.speed`.

Every row is a ratio to the plain reference of the same run: the obvious loop of the lab
(tests/support/reference.py) in float32, one frame of one sequence at a time. Cases run in processes
of their own, so that peak memory is each one's and no case warms another's caches; times are the
best of a few repeats after a warm-up that is not counted.
"""

import argparse
import multiprocessing
import os
import platform
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from core.device import Compute, choose_device
from data.placement import gather_windows
from data.store.images import read_frame
from data.store.picture_files import PictureFiles
from data.types import Batch, Clip, to_float
from data.windows import epoch_starts
from engine.evaluation.rollout import rollout, to_uint8
from engine.training.prediction_buffer import PredictionBuffer
from engine.training.run import Run
from modules.vae import CVAE, CVAEConfig
from settings.cvae import LAB_WIDTHS
from settings.flags import trainer_parser
from settings.resolve import make_settings
from tests.support import reference

WIDTHS = {"lab": LAB_WIDTHS, "small": {"F_dim": 32, "L_dim": 8, "N_dim": 4, "D_out_dim": 48}}


# ------------------------------------------------------------------------ measuring


def seconds(work: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Return the least time of some calls, the device idle before and after each."""
    synchronize = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    work()  # warm-up: compilation, allocation, choice of kernels
    best = float("inf")
    for _ in range(repeats):
        synchronize()
        began = time.perf_counter()
        work()
        synchronize()
        best = min(best, time.perf_counter() - began)
    return best


def peak_memory(device: torch.device) -> float:
    """Return the most memory held so far in MiB: of the GPU, or of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    scale = 1 if platform.system() == "Darwin" else 1024  # ru_maxrss: bytes there, else KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale / 2**20


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Return the rate of a large matrix product in GFLOP/s: what the machine can do at all."""
    size = 8192 if device.type == "cuda" else 2048
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    return 2 * size**3 / seconds(lambda: a @ b, device, 5) / 1e9


def in_own_process(work: Callable, *arguments):
    """Return work(*arguments) from a fresh process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, arguments)


# ------------------------------------------------------------------------- training


def settings_of(widths: str, batch: int, frames: int, **others):
    flags = WIDTHS[widths] | {"batch_size": batch, "train_vi_len": frames, "tfr": 0.0, **others}
    return make_settings(trainer_parser(), flags)


def random_batch(settings, device: torch.device) -> Batch:
    """Return noise as frames and poses, laid out in memory as the data loader does."""
    shape = (settings.train_vi_len, settings.batch_size, settings.frame_H, settings.frame_W, 3)
    pixels = [torch.randint(0, 256, shape, dtype=torch.uint8, device=device) for _ in range(2)]
    return Batch(*(to_float(p).permute(1, 0, 4, 2, 3) for p in pixels))


def training(settings, compute: Compute, forced: bool, repeats: int) -> dict[str, float]:
    """Time steps of the engine."""
    run = Run(CVAE(CVAEConfig.from_settings(settings)), settings, compute)
    batch = random_batch(settings, compute.device)
    if settings.prediction_buffer:
        T, B = settings.train_vi_len, settings.batch_size
        frames = batch.frames.transpose(0, 1).flatten(0, 1).permute(0, 2, 3, 1)
        run.prediction_buffer = PredictionBuffer(to_uint8(frames))
        batch = batch._replace(index=torch.arange(T * B, device=compute.device).view(T, B))
    flags = [forced] * (settings.train_vi_len - 1)
    with FlopCounterMode(display=False) as counter:
        run.train_step(batch, flags, 1.0)
    taken = seconds(lambda: run.train_step(batch, flags, 1.0), compute.device, repeats)
    return figures(settings, taken, counter.get_total_flops(), compute.device)


def plain_training(settings, compute: Compute, forced: bool, repeats: int) -> dict[str, float]:
    """Time the obvious loop: float32, one time step after the other, losses read every step."""
    device = compute.device
    model = CVAE(CVAEConfig.from_settings(settings)).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    # On patches the networks are the same; nothing here has to put pictures together.
    batch = random_batch(settings, device)
    frames, poses = (model._to_patches(x.contiguous()) for x in (batch.frames, batch.conditions))
    B, T = frames.shape[:2]

    def step() -> None:
        noise = torch.randn(B, T - 1, *model.latent_shape, device=device)
        flags = [forced] * (T - 1)
        loss, metrics = reference.training_loss(
            model, frames, poses, teacher_forcing=flags, kl_beta=1.0, noise=noise
        )
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        for value in (loss, *metrics.values()):
            value.item()

    with FlopCounterMode(display=False) as counter:
        step()
    return figures(settings, seconds(step, device, repeats), counter.get_total_flops(), device)


def figures(settings, taken: float, flops: float, device: torch.device) -> dict[str, float]:
    frames = settings.batch_size * settings.train_vi_len
    return {
        "frames/s": frames / taken,
        "GFLOP/s": flops / taken / 1e9,
        "peak MiB": peak_memory(device),
    }


# ------------------------------------------------------------------------- rollout


def random_clips(settings, sequences: int, frames: int) -> list[Clip]:
    shape = (frames, 3, settings.frame_H, settings.frame_W)
    poses = torch.randint(0, 256, (sequences, *shape), dtype=torch.uint8)
    return [Clip(str(k), poses[k, :1], poses[k]) for k in range(sequences)]


def rolling_out(
    settings, compute: Compute, sequences: int, frames: int, repeats: int
) -> dict[str, float]:
    """Time the engine's rollout of all sequences as one batch."""
    model = compute.prepare(CVAE(CVAEConfig.from_settings(settings))).eval()
    clips = random_clips(settings, sequences, frames)
    taken = seconds(lambda: rollout(model, clips, compute=compute), compute.device, repeats)
    return {"frames/s": sequences * (frames - 1) / taken, "peak MiB": peak_memory(compute.device)}


def plain_rolling_out(
    settings, compute: Compute, sequences: int, frames: int, repeats: int
) -> dict[str, float]:
    """Time the obvious rollout: sequence by sequence, frame by frame, float32."""
    model = CVAE(CVAEConfig.from_settings(settings)).to(compute.device).eval()
    poses = torch.rand(frames, 3, settings.frame_H, settings.frame_W, device=compute.device)
    noise = torch.randn(frames, *model.latent_shape, device=compute.device)

    def work() -> None:
        for _ in range(sequences):
            reference.rollout(model, poses[0], poses, noise).cpu()

    taken = seconds(work, compute.device, repeats)
    return {"frames/s": sequences * (frames - 1) / taken, "peak MiB": peak_memory(compute.device)}


# ----------------------------------------------------------------------------- data


def loading(frames: int, height: int, width: int, scale: int) -> pd.DataFrame:
    """Time reading frames and pose images of the lab's size: PNGs, first cache, later starts.

    Returns frames/s, a frame being a picture and its pose image, and seconds for all frames.
    """
    rows = {}
    device = torch.device("cpu")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        rng = np.random.default_rng(0)
        for part in ("train_img", "train_label"):
            (root / "train" / part).mkdir(parents=True)
            for number in range(frames):
                smooth = rng.integers(0, 255, (height // 64, width // 64, 3), dtype=np.uint8)
                image = Image.fromarray(smooth).resize((width, height), Image.Resampling.BICUBIC)
                image.save(root / "train" / part / f"{number}.png", compress_level=1)
        paths = [sorted((root / "train" / p).iterdir()) for p in ("train_img", "train_label")]

        def from_files() -> None:
            for pair in zip(*paths):
                for path in pair:
                    read_frame(path, 32, 64)

        def through_cache(cache: Path) -> None:
            for part in paths:
                PictureFiles(range(len(part)), part).frames(32, 64, cache)

        rows["PNGs, one by one"] = frames / seconds(from_files, device, 1)
        began = time.perf_counter()
        through_cache(root / "cold")
        rows["first start (cache built)"] = frames / (time.perf_counter() - began)
        rows["later start (cache found)"] = frames / seconds(
            lambda: through_cache(root / "cold"), device, 3
        )
        for size in (frames, scale):
            rows[f"batches from the cache, {size:,} frames"] = gather_rate(size)
    table = pd.DataFrame({"frames/s": rows})
    table["x PNGs"] = table["frames/s"] / table["frames/s"].iloc[0]
    return table


def gather_rate(frames: int) -> float:
    """Return frames/s of assembling shuffled batches from a memory-mapped cache of any size."""
    with tempfile.TemporaryDirectory() as folder:
        shape = (frames, 32, 64, 3)
        file = Path(folder) / "frames.npy"
        pixels = np.lib.format.open_memmap(file, "w+", np.uint8, shape)
        frames_of = torch.from_numpy(pixels)
        starts = epoch_starts([(0, frames)], 16, frames // 16, fixed=False, seed=0, epoch=0)
        steps, cpu = torch.arange(16)[:, None], torch.device("cpu")
        count, began = 0, time.perf_counter()
        for batch in torch.from_numpy(starts).split(8):
            for _ in ("frames", "poses"):
                gather_windows(frames_of, steps + batch, cpu)
            count += 16 * len(batch)
            if time.perf_counter() - began > 2:
                break
        return count / (time.perf_counter() - began)


# ---------------------------------------------------------------------------- table


def compare(cases: dict[str, tuple]) -> pd.DataFrame:
    """Run cases and set each beside the first, the plain reference."""
    rows = {}
    for name, (work, *arguments) in cases.items():
        rows[name] = in_own_process(work, *arguments)
        print(f"  {name}: {rows[name]['frames/s']:.0f} frames/s", flush=True)
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.insert(1, "x plain", table["frames/s"] / table["frames/s"].iloc[0])
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batch_size", type=int, help="default: 16 on a GPU, 4 elsewhere")
    parser.add_argument("--frames", type=int, default=128, help="frames of a rollout")
    parser.add_argument("--compiled", action="store_true", help="compiled rows on a CPU as well")
    flags = parser.parse_args()
    device = choose_device(flags.device)
    on_gpu = device.type == "cuda"
    batch = flags.batch_size or (16 if on_gpu else 4)

    name = torch.cuda.get_device_name(device) if on_gpu else cpu_name()
    print(f"{name}, {os.cpu_count()} cores, torch {torch.__version__}")
    for dtype in (torch.float32, torch.bfloat16):
        rate = in_own_process(matrix_rate, device, dtype)
        print(f"matrix product in {str(dtype).split('.')[1]}: {rate:.0f} GFLOP/s")

    ways = {"fp32": Compute(device), "bf16": Compute(device, bf16=True)}
    if on_gpu or flags.compiled:
        ways["bf16 compiled"] = Compute(device, bf16=True, compiled=True)
    sections = {}
    preset = make_settings(trainer_parser(), {"preset": "quick"})
    title = f"training, --preset quick, batch {preset.batch_size} x {preset.train_vi_len}"
    print(title, flush=True)
    sections[title] = compare(
        {"plain": (plain_training, preset, Compute(device), False, flags.repeats)}
        | {w: (training, preset, c, False, flags.repeats) for w, c in ways.items()}
    )
    for widths in WIDTHS:
        settings = settings_of(widths, batch, 16)
        for forced, label in ((False, "no teacher forcing"), (True, "teacher forcing")):
            title = f"training, {widths} widths, batch {batch} x 16, {label}"
            print(title, flush=True)
            plain = {"plain": (plain_training, settings, Compute(device), forced, flags.repeats)}
            sections[title] = compare(
                plain | {w: (training, settings, c, forced, flags.repeats) for w, c in ways.items()}
            )
        for sequences in (1, 5):
            size = (sequences, flags.frames, 1)
            title = f"rollout, {widths} widths, {sequences} x {flags.frames} frames"
            print(title, flush=True)
            sections[title] = compare(
                {"plain": (plain_rolling_out, settings, Compute(device), *size)}
                | {w: (rolling_out, settings, c, *size) for w, c in ways.items()}
            )
    sections["data, PNGs of 1024 x 512"] = loading(200, 512, 1024, scale=100_000)
    for title, table in sections.items():
        print(f"\n{title}\n{table.to_string(float_format=lambda value: f'{value:,.1f}')}")


def cpu_name() -> str:
    """Return the processor's name where the system tells it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":")[1].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
