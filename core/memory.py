"""How much memory is free, so that a run can be refused before it fills the machine."""

from pathlib import Path

import torch

LIMITS = (  # of a container or a service: what it may take, what it has, what it could give back
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory.stat"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
        "/sys/fs/cgroup/memory/memory.stat",
    ),
)


def free_memory(device: torch.device) -> int | None:
    """Return how many bytes can still be had on the device; None where the system does not say.

    Of a CPU: what Linux calls available, or what the control group leaves where that is less.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if device.type != "cpu":
        return None
    found = [_available(), *(_left_of(*files) for files in LIMITS)]
    return min((free for free in found if free is not None), default=None)


def _available() -> int | None:
    for name, kibibytes in _table("/proc/meminfo"):
        if name == "MemAvailable:":
            return kibibytes << 10
    return None


def _left_of(limit: str, usage: str, statistics: str) -> int | None:
    """Return what a control group leaves, files that the system can drop counted as free."""
    try:
        most, used = int(Path(limit).read_text()), int(Path(usage).read_text())
    except (OSError, ValueError):  # there is none, or "max"
        return None
    files = {name: value for name, value in _table(statistics) if name.endswith("inactive_file")}
    return max(0, most - used + files.get("total_inactive_file", files.get("inactive_file", 0)))


def _table(path: str) -> list[tuple[str, int]]:
    """Read lines of a name and a number."""
    try:
        lines = [line.split() for line in Path(path).read_text().splitlines()]
    except OSError:
        return []
    return [(line[0], int(line[1])) for line in lines if len(line) > 1 and line[1].isdecimal()]


def as_bytes(count: float) -> str:
    """Return a number of bytes as one reads it: 812 KiB, 35 MiB, 1.4 GiB."""
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count / 1024:.3g} KiB"
