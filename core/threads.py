"""How many threads compute on a CPU: all cores, or fewer where other work keeps some of them busy.

The threads of an operation end together, so one that has lost its core holds up all: with other
work on the machine, fewer can be many times as quick (benchmarks/threads.py). Sums are split
between the threads, so their number decides the last bits of a result. It is chosen once, at the
start, and a resumed run takes the number it had; only a run that is counted in minutes, which no
other repeats bit for bit, changes it on the way.
"""

import os
import time
from dataclasses import dataclass, replace

import torch
from torch.nn.functional import conv2d

from core import distributed

CLEARLY = 1.5  # how many times as quick fewer threads must be to be taken
ROUNDS, SECONDS_A_TURN = 4, 0.06  # of a comparison
WINDOW = 10.0  # seconds of steps that are compared with the quickest before
SECONDS_BETWEEN = 60.0  # comparisons of a run that has fewer threads than cores
SLOWDOWN = 2.0  # times as long as before: other work has come


@dataclass(frozen=True)
class Threads:
    """How many threads compute, and why so many, in words."""

    number: int
    reason: str = ""
    most: int = 1  # that there could be
    ours: bool = False  # nobody has said how many

    def __str__(self) -> str:
        reason = f" ({self.reason})" if self.reason else ""
        return f"{counted(self.number)} on {cores()} cores{reason}"


def choose_threads(asked: int | None, device: torch.device, before: int | None = None) -> Threads:
    """Set how many threads compute, and return it.

    asked: of --threads. before: those of the run that is resumed. Where nobody says, and
    OMP_NUM_THREADS neither, all cores are compared with fewer of them.
    """
    now = torch.get_num_threads()
    alone = distributed.world_size() == 1 and "OMP_NUM_THREADS" not in os.environ
    ours = asked is None and alone and device.type == "cpu" and now > 1
    if asked is not None:
        chosen = Threads(asked, "--threads")
    elif before is not None and before <= cores():
        chosen = Threads(before, "as before" if before != now else "", now)
    else:
        chosen = compare_threads(now) if ours else Threads(now)
    torch.set_num_threads(chosen.number)
    return replace(chosen, ours=ours)


def compare_threads(most: int) -> Threads:
    """Time a small piece of training with `most` threads and with fewer: what is clearly quickest?

    Leaves any number of them set.
    """
    numbers = sorted({most, most - 1, -(-most // 2), 1} - {0}, reverse=True)
    done, spent = dict.fromkeys(numbers, 0), dict.fromkeys(numbers, 0.0)
    for _ in range(ROUNDS):  # in turns, so that a hiccup of the machine falls on all alike
        for number in numbers:
            torch.set_num_threads(number)
            began = time.perf_counter()
            while (seconds := time.perf_counter() - began) < SECONDS_A_TURN:
                _work()
                done[number] += 1
            spent[number] += seconds
    rates = {number: done[number] / spent[number] for number in numbers}
    best = max(rates, key=rates.get)
    if (gain := rates[best] / rates[most]) < CLEARLY:
        return Threads(most, "", most)
    return Threads(best, f"other work there: {gain:.1f} times as quick as {most}", most)


def counted(threads: int) -> str:
    """Return a number of threads in words."""
    return f"{threads} thread{'s' * (threads > 1)}"


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _work() -> None:
    """Do what a step does most: a convolution forward and backward."""
    weight = torch.full((32, 32, 3, 3), 0.01, requires_grad=True)
    conv2d(torch.full((4, 32, 16, 32), 0.01), weight, padding=1).sum().backward()


class SlowdownWatch:
    """Watches the time that steps take: where they slow down, other work has come to the cores.

    adapts: it then changes the number of threads, else it says so once. `after_step` returns what
    there is to say, if anything.
    """

    def __init__(self, threads: Threads, *, adapts: bool):
        self.threads = threads
        self._adapts = adapts and threads.ours
        self._quickest = float("inf")  # mean seconds of the steps of a window
        self._steps, self._seconds, self._compared = 0, 0.0, 0.0
        self._said = False

    def after_step(self, seconds: float) -> str | None:
        """Count a step that took so long."""
        self._steps, self._seconds = self._steps + 1, self._seconds + seconds
        self._compared += seconds
        if self._seconds < WINDOW:
            return None
        mean = self._seconds / self._steps
        self._steps, self._seconds = 0, 0.0
        slower = mean / self._quickest
        self._quickest = min(self._quickest, mean)
        slowed = slower > SLOWDOWN and self.threads.number > 1
        if self._adapts:
            may_grow = self.threads.number < self.threads.most
            if slowed or (may_grow and self._compared > SECONDS_BETWEEN):
                return self._adapt()
        elif slowed and not self._said:
            self._said = True
            return (
                f"steps take {slower:.1f} times as long as they did: other work on the cores. "
                f"--threads {self.threads.number // 2} may be quicker: stop with Ctrl-C, which "
                "saves, and start again with it (results then differ in the last bits)"
            )
        return None

    def _adapt(self) -> str | None:
        """Compare again, take what is quickest now, and say so where that is another number."""
        before, self._compared, self._quickest = self.threads.number, 0.0, float("inf")
        chosen = compare_threads(self.threads.most)
        torch.set_num_threads(chosen.number)
        self.threads = replace(chosen, ours=True)
        if chosen.number == before:
            return None
        reason = chosen.reason or "the cores are free again"
        return f"{counted(chosen.number)} from here on, not {before}: {reason}"
