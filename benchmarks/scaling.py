"""What a step costs in several processes: `python -m benchmarks.scaling` (docs/scaling.md).

Counted: floating-point operations, gradient bytes and exchanges of a training step. Measured: gloo
processes on this machine. Computed from both and from stated rates: what GPUs would give.
"""

import argparse
import math
import multiprocessing
import os
import socket
import tempfile
import time
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
import torch.distributed as dist
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.speed import cpu_name
from core import distributed
from core.device import Compute
from data.types import Batch
from engine.training.prediction_buffer import PredictionBuffer
from engine.training.run import Run
from modules.svg import SVG, SVGConfig
from modules.vae import CVAE, CVAEConfig
from settings.flags import trainer_parser
from settings.resolve import make_settings

COUNTED = 2  # windows that are counted, for a batch of any size
CPU = torch.device("cpu")
CASES = {
    "dance quick, 16 × 2": {"preset": "quick"},
    "dance large, 32 × 2": {"preset": "large"},
    "dance lab, 2 × 16": {"preset": "lab"},
    "robot lab, 12 × 12": {"model": "svg", "preset": "lab"},
}


@dataclass(frozen=True)
class Machine:
    """What the projection assumes of GPUs and their links. None of it is measured here."""

    flops: float = 50e12  # sustained by a GPU on these narrow convolutions
    overhead: float = 4e-3  # of a step beside them: launches, optimizer (seconds)
    gpus: int = 8  # of a machine
    inside: tuple[float, float] = (200e9, 15e-6)  # bytes/s and seconds of an exchange, NVLink
    between: tuple[float, float] = (10e9, 40e-6)  # 100 Gb/s between machines

    def step(self, case: dict, processes: int) -> tuple[float, float]:
        """Return seconds of computing and of exchanging in a step; nothing overlaps."""
        computing = case["GFLOP"] * 1e9 / self.flops + self.overhead
        if processes == 1:
            return computing, 0.0
        rate, latency = self.inside if processes <= self.gpus else self.between
        share = (processes - 1) / processes
        reduced = 2 * share * case["MB reduced"] * 1e6
        gathered = (processes - 1) * case["MB gathered"] * 1e6
        return computing, (reduced + gathered) / rate + case["exchanges"] * latency * math.log2(
            processes
        )


def settings_of(flags: dict, batch: int | None = None) -> Namespace:
    settings = make_settings(trainer_parser(), flags)
    return settings.but(batch_size=batch or settings.batch_size)


def begin(settings: Namespace) -> tuple[Run, Batch]:
    """Return a run, and a batch of noise with conditions as its model takes them."""
    torch.manual_seed(0)
    is_robot = settings.model == "svg"
    model = (
        SVG(SVGConfig.from_settings(settings))
        if is_robot
        else CVAE(CVAEConfig.from_settings(settings))
    )
    B, T = settings.batch_size, settings.train_vi_len
    size = (64, 64) if is_robot else (settings.frame_H, settings.frame_W)
    frames = torch.rand(B, T, 3, *size)
    conditions = torch.rand(B, T, 7) if is_robot else torch.rand_like(frames)
    index = torch.arange(B * T).view(B, T).T
    run = Run(model, settings, Compute(CPU))
    if settings.prediction_buffer:
        run.prediction_buffer = PredictionBuffer(
            torch.zeros(B * T * distributed.world_size(), *size, 3).byte()
        )
    return run, Batch(frames, conditions, index)


def step(run: Run, batch: Batch, forced: bool = False) -> None:
    run.train_step(batch, [forced] * (batch.frames.shape[1] - 1), 1e-4)


def in_processes(processes: int, work, *arguments) -> None:
    """Call `work` in gloo processes on this machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    ranks = [
        context.Process(target=_as_rank, args=(rank, processes, port, work, *arguments))
        for rank in range(processes)
    ]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join()


def _as_rank(rank: int, processes: int, port: int, work, *arguments) -> None:
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes}
    place |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ |= {name: str(value) for name, value in place.items()}
    torch.set_num_threads(1)
    with distributed.joined():
        work(*arguments)


# -------------------------------------------------------------------------- counted


def count(flags: dict, file: Path) -> None:
    """Count the exchanges of a step with few windows a process, and their bytes."""
    found = {"MB reduced": 0.0, "MB gathered": 0.0}
    run, batch = begin(settings_of(flags, COUNTED))

    def counted(collective, column: str, tensor):
        def call(*arguments, **named):
            found[column] += tensor(arguments).nbytes / 1e6
            return collective(*arguments, **named)

        return call

    dist.all_reduce = counted(dist.all_reduce, "MB reduced", lambda given: given[0])
    dist.all_gather = counted(dist.all_gather, "MB gathered", lambda given: given[1])
    run.network.register_comm_hook(None, allreduce_hook)  # gradients by dist.all_reduce as well
    before = dist.group.WORLD._get_sequence_number_for_group()
    step(run, batch)
    exchanges = dist.group.WORLD._get_sequence_number_for_group() - before
    found["MB gathered"] *= settings_of(flags).batch_size / COUNTED
    torch.save({"exchanges": exchanges} | found, file)


def counts(flags: dict) -> dict:
    """Return what a step of the case takes of a process."""
    run, batch = begin(settings_of(flags, COUNTED))
    run.guard.step = lambda finite, counted: (
        None
    )  # the optimizer's part does not grow with the batch
    counter = FlopCounterMode(display=False)
    with counter:
        step(run, batch)
    settings = settings_of(flags)
    with tempfile.TemporaryDirectory() as folder:
        in_processes(2, count, flags, Path(folder) / "found")
        found = torch.load(Path(folder) / "found", weights_only=False)
    flops = counter.get_total_flops() * settings.batch_size / COUNTED
    parameters = sum(p.numel() for p in run.model.parameters())
    return {
        "million parameters": parameters / 1e6,
        "GFLOP": flops / 1e9,
        "MB of data": sum(x.numel() for x in batch[:2]) * settings.batch_size / COUNTED / 1e6,
    } | found


# ------------------------------------------------------------------------- measured


def measure(flags: dict, batch: int, steps: int, file: Path) -> None:
    """Time steps: the quickest, in milliseconds, and what of it went by in exchanges.

    Those of gradients happen meanwhile and are not among them: benchmarks/gradients.py.
    """
    run, data = begin(settings_of(flags, batch))
    exchanging = [0.0]

    def timed(collective):
        def call(*arguments, **named):
            began = time.perf_counter()
            collective(*arguments, **named)
            exchanging[0] += time.perf_counter() - began

        return call

    dist.all_reduce, dist.all_gather = timed(dist.all_reduce), timed(dist.all_gather)
    rows = []
    for _ in range(steps + 2):
        exchanging[0], began = 0.0, time.perf_counter()
        distributed.all_reduce_max(0, 0.0)
        step(run, data)
        rows.append((time.perf_counter() - began, exchanging[0]))
    wall, waited = min(rows[2:])
    if distributed.is_main():
        torch.save({"ms": 1e3 * wall, "of it exchanging or waiting": 1e3 * waited}, file)


def exchange(floats: int, times: int, file: Path) -> None:
    """Time reductions of some numbers: the quickest, in milliseconds."""
    values, seconds = torch.zeros(floats), []
    for _ in range(times):
        began = time.perf_counter()
        dist.all_reduce(values)
        seconds.append(time.perf_counter() - began)
    if distributed.is_main():
        torch.save(1e3 * min(seconds), file)


def exchanges(times: int = 200) -> pd.DataFrame:
    """Run 2 and 4 processes that only exchange: little, and gradients."""
    rows: dict[str, dict] = {}
    with tempfile.TemporaryDirectory() as folder:
        for processes in (2, 4):
            for floats in (16, 406_521, 1_651_156):
                file = Path(folder) / f"{processes}-{floats}"
                in_processes(processes, exchange, floats, times, file)
                found = torch.load(file, weights_only=False)
                rows.setdefault(f"{processes} processes", {})[f"ms, {4 * floats:,} bytes"] = found
    return pd.DataFrame.from_dict(rows, orient="index")


def measured(flags: dict, steps: int) -> pd.DataFrame:
    """Run 1, 2 and 4 processes: the same batch in each, and the same in all."""
    rows = {}
    whole = settings_of(flags).batch_size
    with tempfile.TemporaryDirectory() as folder:
        for processes in (1, 2, 4):
            for name, batch in (("each", whole), ("in all", whole // processes)):
                file = Path(folder) / f"{processes}{name}"
                in_processes(processes, measure, flags, batch, steps, file)
                found = torch.load(file, weights_only=False)
                rate = 1e3 * processes * batch / found["ms"]
                rows[f"{processes} × {batch} windows ({whole} {name})"] = found | {
                    "windows/s": rate
                }
    return pd.DataFrame.from_dict(rows, orient="index")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=20, help="steps to time (default: 20)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    show = {"float_format": lambda value: f"{value:.4g}"}

    print("counted, per step and process:")
    cases = pd.DataFrame.from_dict({n: counts(flags) for n, flags in CASES.items()}, orient="index")
    print(cases.to_string(**show))

    machine = Machine()
    print(f"\ncomputed, not measured, for {machine}:")
    rows = {}
    for name, case in cases.to_dict(orient="index").items():
        alone = sum(machine.step(case, 1))
        for processes in (1, 8, 64):
            computing, exchanging = machine.step(case, processes)
            rows[f"{name}, {processes} GPUs"] = {
                "ms computing": 1e3 * computing,
                "ms exchanging": 1e3 * exchanging,
                "efficiency": alone / (computing + exchanging),
            }
    print(pd.DataFrame.from_dict(rows, orient="index").to_string(**show))

    print(f"\nmeasured, {cpu_name()}, {os.cpu_count()} cores, gloo, one thread a process, fp32:")
    print(exchanges().to_string(**show))
    print(measured(CASES["dance quick, 16 × 2"], args.steps).to_string(**show))


if __name__ == "__main__":
    main()
