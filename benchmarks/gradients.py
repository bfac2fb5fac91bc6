"""What averaging gradients costs, two ways: `python -m benchmarks.gradients` (docs/scaling.md).

By DistributedDataParallel during the backward pass, and in one flat reduction after it. Both are
compared with steps that exchange no gradients at all, in the same processes, in turn.
"""

import argparse
import contextlib
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pandas as pd
import torch
import torch.distributed as dist
from torch import Tensor, nn

from benchmarks.scaling import begin, in_processes, settings_of, step
from benchmarks.speed import cpu_name
from core import distributed
from engine.training.run import Run

CASES = {  # flags, and windows a process
    "dance quick, 16 × 2": ({"preset": "quick"}, 16),
    "dance lab widths, 1 × 2": ({"preset": "lab", "train_vi_len": 2}, 1),
    "robot lab widths, 1 × 3": ({"model": "svg", "preset": "lab", "train_vi_len": 3}, 1),
}
NOTHING, FLAT, WRAPPED = "no exchange", "flat reduction", "DistributedDataParallel"


def flat_reduction(parameters: Iterable[nn.Parameter], figures: dict[str, Tensor]) -> dict:
    """Set every gradient to its mean over the processes; return the means of the scalars.

    All travel in one reduction.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    parts = [*gradients, torch.stack(list(figures.values()))]
    flat = torch.cat([part.reshape(-1) for part in parts])
    dist.all_reduce(flat)
    flat /= distributed.world_size()
    means = flat.split([part.numel() for part in parts])
    torch._foreach_copy_(gradients, [m.view_as(g) for m, g in zip(means, gradients)])
    return dict(zip(figures, means[-1].unbind()))


@contextlib.contextmanager
def replaced(**functions: Callable) -> Iterator[None]:
    """Put other functions in the place of some of `core.distributed`."""
    before = {name: getattr(distributed, name) for name in functions}
    vars(distributed).update(functions)
    yield
    vars(distributed).update(before)


class Way:
    """A run that averages its gradients in one of the ways, or not at all."""

    def __init__(self, name: str, flags: dict, batch: int):
        self.name = name
        wrap = {} if name == WRAPPED else {"data_parallel": lambda model: model}
        with replaced(**wrap):
            self.run, self.batch = begin(settings_of(flags, batch))

    def step(self) -> tuple[float, float]:
        """Take a step, which all processes begin at once; return its seconds, and the processor's.

        Those are of this process, without what others take of a busy machine.
        """
        distributed.all_reduce_max(0)
        began, spent = time.perf_counter(), time.process_time()
        with replaced(**self._functions(self.run)):
            step(self.run, self.batch)
        return time.perf_counter() - began, time.process_time() - spent

    def _functions(self, run: Run) -> dict[str, Callable]:
        if self.name == NOTHING:
            return {"all_reduce_mean": lambda figures: figures}
        if self.name == FLAT:
            return {"all_reduce_mean": lambda f: flat_reduction(run.model.parameters(), f)}
        return {}


def measure(flags: dict, batch: int, rounds: int, file: Path) -> None:
    """Take steps of all ways in turn; store what each took, a row a round."""
    ways = [Way(name, flags, batch) for name in (NOTHING, FLAT, WRAPPED)]
    rows = []
    for number in range(rounds + 2):
        order = ways[number % 3 :] + ways[: number % 3]
        rows.append({way.name: way.step() for way in order})
    if distributed.is_main():
        torch.save(rows[2:], file)


def weigh(name: str, flags: dict, batch: int, file: Path) -> None:
    """Take some steps of one way alone; store the peak of this process's memory, and the start."""
    began = time.perf_counter()
    way = Way(name, flags, batch)
    built = time.perf_counter() - began
    for _ in range(3):
        way.step()
    if distributed.is_main():
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        torch.save({"MB": peak / 1e6, "s": built}, file)


def compared(processes: int, flags: dict, batch: int, rounds: int) -> dict:
    """Return the medians of a case: seconds, ratios of steps of the same round, memory."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "found"
        in_processes(processes, measure, flags, batch, rounds, file)
        rows = torch.load(file, weights_only=False)
        wall, spent = (
            pd.DataFrame([{name: times[kind] for name, times in row.items()} for row in rows])
            for kind in (0, 1)
        )
        alone = {}
        for way in (FLAT, WRAPPED):
            in_processes(processes, weigh, way, flags, batch, file)
            alone[way] = torch.load(file, weights_only=False)
    ratio = wall[WRAPPED] / wall[FLAT]
    return {
        "s a step without exchange": wall[NOTHING].median(),
        "s that the flat reduction adds": (wall[FLAT] - wall[NOTHING]).median(),
        "s that DDP adds": (wall[WRAPPED] - wall[NOTHING]).median(),
        "a step, DDP / flat": ratio.median(),
        "  lower quartile": ratio.quantile(0.25),
        "  upper quartile": ratio.quantile(0.75),
        "processor time, DDP / flat": (spent[WRAPPED] / spent[FLAT]).median(),
        "peak MB, flat": alone[FLAT]["MB"],
        "peak MB, DDP": alone[WRAPPED]["MB"],
        "s to build, flat": alone[FLAT]["s"],
        "s to build, DDP": alone[WRAPPED]["s"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--processes", type=int, nargs="+", default=[2, 3])
    parser.add_argument("--rounds", type=int, default=30, help="steps of each way (default: 30)")
    args = parser.parse_args()
    print(f"{cpu_name()}, {os.cpu_count()} cores, gloo, one thread a process, fp32; medians:")
    for name, case in CASES.items():
        for processes in args.processes:
            found = pd.Series(compared(processes, *case, args.rounds))
            print(f"\n{name}, {processes} processes, {args.rounds} rounds")
            print(found.to_string(float_format=lambda value: f"{value:.3g}"), flush=True)


if __name__ == "__main__":
    main()
