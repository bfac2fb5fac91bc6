"""How fast a GPU trains, rolls out and tests, each beside the plain loop in the same run."""

import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import torch

from benchmarks import robot_speed, speed
from benchmarks.gpu_cases import Case, begin, clips_of, model_of, stepping
from benchmarks.scripts import output_of
from core.device import Compute
from engine.evaluation.rollout import rollout
from tests.support.launches import Launches

TARGETS = {  # frames/s, of the robot clips/s, on one H200
    "quick, 16 × 2": 10_000,
    "quick, 64 × 2": 30_000,
    "large, 32 × 2": 8_000,
    "lab's widths, 4 × 16, forced": 5_000,
    "lab's widths, 4 × 16, rolled out": 3_000,
    "robot, lab, 12 × 12, forced": 1_000,
}


def ways_of(device: torch.device, compiles: bool) -> dict[str, tuple[Compute, bool]]:
    """Return how a step is taken, and whether it is prepared."""
    bf16 = Compute(device, bf16=True)
    ways = {"as written": (bf16, False), "recorded": (bf16, True)}
    if compiles:
        ways["recorded, compiled"] = (Compute(device, bf16=True, compiled=True), True)
    return ways


def steps_table(cases: list[Case], device: torch.device, repeats: int) -> pd.DataFrame:
    """Time a training step of every case, in every way, beside the plain loop."""
    rows = {}
    for case in cases:
        rows[case.name] = row = {"plain": plain_rate(case, device, repeats)}
        for way, (compute, prepared) in ways_of(device, device.type == "cuda").items():
            row[way] = rate(case, compute, prepared, repeats)
        best = max(row[way] for way in row if way != "plain")
        row |= {"x plain": best / row["plain"], "target": TARGETS.get(case.name, float("nan"))}
        print(f"  {case.name}: {best:,.0f} a second, {row['x plain']:.1f} x plain", flush=True)
    return pd.DataFrame.from_dict(rows, orient="index")


def units(case: Case) -> int:
    """Return the frames of a step, of the robot its clips."""
    settings = case.settings()
    robot = settings.model == "svg"
    return settings.batch_size * (1 if robot else settings.train_vi_len)


def rate(case: Case, compute: Compute, prepared: bool, repeats: int) -> float:
    """Return frames/s (of the robot clips/s) of the engine's steps."""
    run, batch = begin(case.settings(), compute)
    step = stepping(run, batch, case.forced, prepared)
    return units(case) / speed.seconds(step, compute.device, repeats)


def plain_rate(case: Case, device: torch.device, repeats: int) -> float:
    """Return that of the obvious loop, in float32."""
    settings = case.settings()
    if settings.model == "svg":
        step = robot_speed.plain_training(settings, device, case.forced)
        return units(case) / speed.seconds(step, device, repeats)
    return speed.plain_training(settings, Compute(device), case.forced, repeats)["frames/s"]


def rollout_table(
    case: Case, device: torch.device, sequences: int, frames: int, repeats: int
) -> pd.DataFrame:
    """Time rolling out some sequences as one batch, and the plain rollout one by one."""
    settings = case.settings()
    clips = clips_of(settings, sequences, frames)
    compute = Compute(device, bf16=True)
    model = compute.prepare(model_of(settings)).eval()
    ours = speed.seconds(lambda: rollout(model, clips, compute=compute), device, repeats)
    plain = speed.plain_rolling_out(settings, Compute(device), sequences, frames, 1)["frames/s"]
    rows = {"plain": sequences * (frames - 1) / plain, "ours": ours}
    return pd.DataFrame({f"seconds, {sequences} × {frames}": rows})


def launches_table(cases: list[Case], device: torch.device) -> pd.DataFrame:
    """Count the operations of a step as written: those a GPU's host would launch one by one."""
    rows = {}
    for case in cases:
        run, batch = begin(case.settings(), Compute(device, bf16=True))
        step = stepping(run, batch, case.forced, prepared=False)
        step()
        with Launches() as launches:
            step()
        rows[case.name] = {"operations": launches.count, "casts to bf16": launches.casts}
    return pd.DataFrame.from_dict(rows, orient="index")


def tester_seconds(device: str, frames: int, folder: Path) -> float:
    """Return how long the Tester takes, the whole process: 5 synthetic sequences of some frames."""
    data, demo = folder / "data", "-m demo.dance --train_frames 60 --test_sequences 5"
    output_of(*demo.split(), "--sequence_length", frames, "--out", data)
    tester = f"Tester.py --device {device} --ckpt_path pretrained/dance.safetensors"
    began = time.perf_counter()
    output_of(*tester.split(), "--DR", data, "--save_root", folder / "results")
    return time.perf_counter() - began


def save_profile(case: Case, device: torch.device, folder: Path) -> Iterator[str]:
    """Write a Chrome trace of some steps, on CUDA a picture of the memory too; yield file names."""
    run, batch = begin(case.settings(), Compute(device, bf16=True))
    step = stepping(run, batch, case.forced)
    step()
    activities = [torch.profiler.ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
        torch.cuda.memory._record_memory_history()
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        for _ in range(3):
            step()
    profile.export_chrome_trace(str(folder / "step.json"))
    yield "step.json"
    if device.type == "cuda":
        torch.cuda.memory._dump_snapshot(str(folder / "memory.pickle"))
        torch.cuda.memory._record_memory_history(enabled=None)
        yield "memory.pickle"


TRAININGS = {  # flags of the Trainer, of trainings to their end
    "quick": "--preset quick",
    "large": "--preset large",
    "lab's recipe": "--preset lab --num_epoch 70 --batch_size 4",
}


def trained(flags: str, data: str, device: str, folder: Path) -> str:
    """Train to the end; return the last line that the Trainer says."""
    said = output_of(
        "Trainer.py", "--DR", data, "--save_root", folder, "--device", device, *flags.split()
    )
    return said.strip().splitlines()[-1]
