"""Run folders compared, and runs waited for."""

import time
from pathlib import Path

import torch

from engine.checkpoints import checkpoint
from tests.support.scripts import rows_of

TIMES = ("seconds", "frames_per_second")


def same(a, b) -> bool:
    """Compare nested plain values and tensors, bit for bit."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def assert_same_run(folder: Path, other: Path) -> None:
    """Compare what two run folders hold, but for the times."""
    names = sorted(p.name for p in other.glob("*.ckpt") if "-" not in p.stem)
    assert names == sorted(p.name for p in folder.glob("*.ckpt") if "-" not in p.stem)
    for name in names:
        a, b = (checkpoint.load(place / name) for place in (folder, other))
        for content in (a, b):
            del content["seconds"], content["settings"]
        assert same(a, b), name
    rows = [
        [{k: v for k, v in r.items() if k not in TIMES} for r in rows_of(p)]
        for p in (folder, other)
    ]
    assert rows[0] == rows[1]
    assert not list(folder.glob(".*.tmp"))


def wait_for_output(output: Path, text: str) -> None:
    deadline = time.monotonic() + 60
    while not (output.exists() and text in output.read_text()):
        assert time.monotonic() < deadline, output.read_text() if output.exists() else "silent"
        time.sleep(0.01)


def assert_close(weights: dict, others: dict) -> None:
    """Compare weights to rounding, which Adam turns into steps where a gradient is near zero.

    That of the bias before the BatchNorm is zero but for rounding: it goes where rounding leads,
    and the running mean follows it.
    """
    for name, weight in weights.items():
        if name not in ("label_transformation.1.bias", "label_transformation.2.running_mean"):
            torch.testing.assert_close(weight, others[name], rtol=1e-3, atol=5e-4)
