"""What larger frames cost: `python -m benchmarks.frame_sizes`.

Training and rollout of the networks for 32×64, of the same on 4×4 patches at 128×256, and of those
for 128×256, by turns: frames/s of processor time (of the device's on a GPU), the arithmetic of a
frame, and what a window needs in memory, as a run says it and as it is. A frame of training is one
of a window, of a rollout one predicted.
"""

import argparse
import time
from types import SimpleNamespace

import pandas as pd
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.speed import in_own_process, peak_memory, random_batch, random_clips
from core.device import Compute, choose_device
from data.types import to_float
from engine.evaluation.rollout import rollout
from engine.training.run import Run
from engine.training.step_memory import measure_step_memory
from modules.vae import CVAE, CVAEConfig
from settings.flags import trainer_parser
from settings.resolve import make_settings

CASES = {
    "32×64, quick": {"preset": "quick"},
    "128×256, quick with --patch_size 4": {
        **{"preset": "quick", "frame_H": 128, "frame_W": 256, "patch_size": 4}
    },
    "128×256, quick-large": {"preset": "quick-large"},
}
GPU_CASES = {"32×64, large": {"preset": "large"}, "128×256, gpu-large": {"preset": "gpu-large"}}


def clock(device: torch.device) -> float:
    """Return seconds: of the processor, which other work on its cores does not count towards."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return time.perf_counter()
    return time.process_time()


def figures(flags: dict, compute: Compute, threads: int, repeats: int) -> dict[str, float]:
    """Return the row of a case."""
    torch.set_num_threads(threads)
    settings = make_settings(trainer_parser(), flags | {"prediction_buffer": False})
    run = Run(CVAE(CVAEConfig.from_settings(settings)), settings, compute)
    batch = random_batch(settings, compute.device)
    data = SimpleNamespace(frames=batch.frames, batches=lambda epoch: iter([batch]))
    said = measure_step_memory(run, data).window
    frames, step = (
        settings.batch_size * settings.train_vi_len,
        lambda: run.train_step(batch, [False], 1e-4),
    )
    before = peak_memory(compute.device)
    with FlopCounterMode(display=False) as counter:
        step()
    grown = peak_memory(compute.device) - before
    row = {
        "parameters, M": sum(p.numel() for p in run.model.parameters()) / 1e6,
        "training, frames/s": frames / least(step, compute.device, repeats),
        "training, GFLOP a frame": counter.get_total_flops() / frames / 1e9,
        "a window, MiB, said": said / 2**20,
        "a window, MiB, found": grown / settings.batch_size,
    }
    model, (clip,) = run.model.eval(), random_clips(settings, 1, 24)
    seconds = least(lambda: rollout(model, [clip], compute=compute), compute.device, repeats)
    pictures = to_float(clip.conditions[None, :2].to(compute.device))
    noise = torch.zeros(1, *model.latent_shape, device=compute.device)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        condition = model.encode_conditions(pictures[:, 1:])[:, 0]
        model.predict(pictures[:, 0], condition, None, noise)
    return row | {
        "rollout, frames/s": 23 / seconds,
        "rollout, GFLOP a frame": counter.get_total_flops() / 1e9,
    }


def least(work, device: torch.device, repeats: int) -> float:
    """Return the least time of some calls, after one that is not counted."""
    work()
    taken = []
    for _ in range(repeats):
        began = clock(device)
        work()
        taken.append(clock(device) - began)
    return min(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    flags = parser.parse_args()
    device = choose_device(flags.device)
    compute = Compute(device, bf16=True)
    cases = CASES | (GPU_CASES if device.type == "cuda" else {})
    rows = {
        name: in_own_process(figures, case, compute, flags.threads, flags.repeats)
        for name, case in cases.items()
    }
    table = pd.DataFrame.from_dict(rows, orient="index").T
    print(f"{device}, {flags.threads} threads, bf16, torch {torch.__version__}")
    print(table.to_string(float_format=lambda value: f"{value:.4g}"))


if __name__ == "__main__":
    main()
