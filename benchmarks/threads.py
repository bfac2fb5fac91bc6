"""Training speed beside other work, by how threads wait: `python -m benchmarks.threads`.

Every case is a process of its own that trains `--preset quick` on noise; they take turns of a few
seconds, so that what else the machine does meanwhile falls on all of them alike. Beside each turn
run no, one, … busy loops. A figure is the median over the rounds.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
BUSY = "while True: pass"
# What the environment says of waiting; torch's OpenMP reads it when it is loaded.
WAYS = {
    "as OpenMP waits by itself": {},
    "100,000 turns, then asleep": {"GOMP_SPINCOUNT": "100000"},
    "10,000 turns, then asleep": {"GOMP_SPINCOUNT": "10000"},
    "1,000 turns, then asleep": {"GOMP_SPINCOUNT": "1000"},
    "asleep at once": {"OMP_WAIT_POLICY": "PASSIVE"},
}


def train(threads: int) -> None:
    """Train in turns: a line of seconds on stdin is answered by a line of frames/s."""
    import torch

    from benchmarks.speed import random_batch
    from core.device import Compute
    from engine.evaluation.rollout import to_uint8
    from engine.training.prediction_buffer import PredictionBuffer
    from engine.training.run import Run
    from modules.vae import CVAE, CVAEConfig
    from settings.flags import trainer_parser
    from settings.resolve import make_settings

    torch.set_num_threads(threads)
    settings = make_settings(trainer_parser(), {"preset": "quick"})
    device = torch.device("cpu")
    run = Run(CVAE(CVAEConfig.from_settings(settings)), settings, Compute(device, bf16=True))
    T, B = settings.train_vi_len, settings.batch_size
    batch = random_batch(settings, device)
    frames = batch.frames.transpose(0, 1).flatten(0, 1).permute(0, 2, 3, 1)
    run.prediction_buffer = PredictionBuffer(to_uint8(frames))
    batch = batch._replace(index=torch.arange(T * B).view(T, B))
    run.train_step(batch, [False] * (T - 1), 1e-4)
    for line in sys.stdin:
        steps, began = 0, time.perf_counter()
        while time.perf_counter() - began < float(line):
            run.train_step(batch, [False] * (T - 1), 1e-4)
            steps += 1
        print(T * B * steps / (time.perf_counter() - began), flush=True)


def start(threads: int, environment: dict[str, str]) -> subprocess.Popen:
    """Start a case, which then waits for its turns."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_", "KMP_"))}
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.threads", "--case", str(threads)],
        cwd=Path(__file__).parents[1],
        env=clean | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def turn(case: subprocess.Popen, seconds: float) -> float:
    """Let a case train for a while and return its frames/s."""
    print(seconds, file=case.stdin, flush=True)
    return float(case.stdout.readline())


def measure(cases: dict, busy: int, rounds: int, seconds: float) -> dict[str, float]:
    """Return the frames/s of every case beside so many busy loops."""
    loops = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(busy)]
    try:
        found = [{n: turn(case, seconds) for n, case in cases.items()} for _ in range(rounds)]
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()
    return pd.DataFrame(found).median().to_dict()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--case", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of a turn")
    parser.add_argument(
        "--busy",
        type=int,
        nargs="+",
        default=sorted({0, 1, CORES}),
        help="how many busy loops run beside (default: none, one, one per core)",
    )
    flags = parser.parse_args()
    if flags.case:
        train(flags.case)
        return
    named = {f"{CORES} threads, {name}": start(CORES, way) for name, way in WAYS.items()}
    if CORES > 1:
        fewer = "1 thread" if CORES == 2 else f"{CORES - 1} threads"
        named |= {f"{fewer}, as OpenMP waits by itself": start(CORES - 1, {})}
    try:
        table = pd.DataFrame(
            {
                f"{busy} busy": measure(named, busy, flags.rounds, flags.seconds)
                for busy in flags.busy
            }
        )
    finally:
        for case in named.values():
            case.stdin.close()
            case.wait()
    from benchmarks.speed import cpu_name

    print(f"{cpu_name()}, {CORES} cores; frames/s of training --preset quick beside busy loops")
    print(table.to_string(float_format=lambda value: f"{value:.0f}"))


if __name__ == "__main__":
    main()
