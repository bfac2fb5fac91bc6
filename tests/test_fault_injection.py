"""A fault at every file operation in turn (tests/faults.py), and what must hold after each.

Each test goes through all operations of an undisturbed run, so the number of points is that of the
operations; `python -m pytest tests/test_fault_injection.py -s` prints them.
"""

import csv
import errno
import os
import signal
from pathlib import Path

import pytest
import torch

import Trainer
from engine.checkpoints import checkpoint
from engine.training.run import Run
from tests import toy
from tests.faults import Faults, dying, in_one_order, operations_of  # noqa: F401
from tests.hostile import call

FLAGS = (
    *("--model", "toy", "--DR", ".", "--num_epoch", "2", "--batch_size", "12", "--lr", "0.01"),
    *("--device", "cpu", "--precision", "fp32", "--toy_rank", "3", "--tfr", "0.5"),
    *("--per_save", "1", "--prediction_buffer", "--tfr_granularity", "batch"),
)
TIMES = ("seconds", "frames_per_second")


@pytest.fixture(autouse=True)
def known():
    with toy.registered():
        yield


pytestmark = pytest.mark.usefixtures("in_one_order")


def train(folder: Path, *flags) -> tuple[int, str]:
    return call(Trainer, *FLAGS, *flags, "--save_root", folder)


def same(a, b) -> bool:
    """Compare nested plain values and tensors, bit for bit."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def state_of(folder: Path) -> dict:
    """Return what a run folder holds, but for the times and pictures."""
    state: dict = {}
    for path in folder.glob("*.ckpt"):
        if "-" not in path.stem:
            content = checkpoint.load(path)
            del content["seconds"], content["settings"]
            state[path.name] = content
    with (folder / "metrics.csv").open() as file:
        rows = [{k: v for k, v in r.items() if k not in TIMES} for r in csv.DictReader(file)]
    return state | {"rows": rows}


def assert_same(folder: Path, expected: dict, without: set[str] = frozenset()) -> None:
    found = state_of(folder)
    assert found.keys() >= expected.keys() - without
    for name in expected.keys() & found.keys():
        assert same(found[name], expected[name]), name
    assert not list(folder.rglob("*.tmp"))


@pytest.fixture
def undisturbed(tmp_path) -> dict:
    code, said = train(tmp_path / "undisturbed")
    assert code == 0, said
    return state_of(tmp_path / "undisturbed")


# ------------------------------------------------------------------------------------- training


def test_killed_at_any_operation_a_run_ends_as_the_undisturbed_one(undisturbed, tmp_path):
    points = operations_of(tmp_path, lambda: train(tmp_path / "counted"))
    print(f"{len(points)} points")
    for at, operation in enumerate(points):
        folder = tmp_path / f"killed {at} at {operation}"
        with Faults(tmp_path, at) as faults, dying():
            train(folder)
        assert faults.is_dead
        code, said = train(folder)
        assert code == 0, said
        assert_same(folder, undisturbed)
        assert not list(folder.glob("previous-*"))


@pytest.mark.parametrize("kind", ["refuse", "fail"])
def test_an_error_at_any_operation_costs_nothing_that_is_not_said(undisturbed, tmp_path, kind):
    points = operations_of(tmp_path, lambda: train(tmp_path / "counted"))
    print(f"{len(points)} points")
    for at, operation in enumerate(points):
        folder = tmp_path / f"{kind} {at} {operation}"
        with Faults(tmp_path, at, kind):
            code, said = train(folder)
        assert code in (0, 2), said
        assert "Traceback" not in said
        if operation.startswith("create") and kind == "fail":  # nobody knows of the file
            for path in folder.glob(".*.tmp"):
                path.unlink()
        if code == 0:
            assert_same(folder, undisturbed)
            continue
        error = said.splitlines()[-1]
        assert error.startswith("error: ")
        assert any(os.strerror(number) in error for number in (errno.ENOSPC, errno.EEXIST))
        code, said = train(folder)
        assert code == 0, said
        assert_same(folder, undisturbed, {name for name in undisturbed if name in error})


# ------------------------------------------------------------------------------------- shutdown


@pytest.mark.parametrize(
    ("step", "kind"), [(2, "kill"), (2, "refuse"), (2, "fail"), (3, "kill")]
)  # in the middle of an epoch, at its end
def test_a_fault_at_any_operation_while_it_stops_costs_nothing(
    undisturbed, tmp_path, monkeypatch, step, kind
):
    taken = Run.train_step

    def stop(self, *arguments):
        metrics = taken(self, *arguments)
        if self.step == step and not os.environ.get("RESUMED"):
            os.kill(os.getpid(), signal.SIGTERM)
        return metrics

    monkeypatch.setattr(Run, "train_step", stop)
    points = operations_of(tmp_path, lambda: train(tmp_path / "counted"))
    print(f"{len(points)} points")
    for at, operation in enumerate(points):
        folder = tmp_path / f"{kind} {at} {operation}"
        with Faults(tmp_path, at, kind), dying():
            code, said = train(folder)
            assert code in (143, 2), said
            assert "Traceback" not in said
            if code == 143:
                assert checkpoint.load(folder / "last.ckpt")["step"] == step
        with monkeypatch.context() as patch:
            patch.setenv("RESUMED", "1")
            code, said = train(folder)
        assert code == 0, said
        assert_same(folder, undisturbed)


# ---------------------------------------------------------------- over the files of another run


def test_killed_while_an_earlier_run_is_set_aside_nothing_of_it_is_lost(undisturbed, tmp_path):
    other = ("--lr", "0.02")
    code, _ = train(tmp_path / "other", *other)
    assert code == 0
    expected = state_of(tmp_path / "other")

    points = operations_of(tmp_path, lambda: train(tmp_path / "counted"))
    assert train(tmp_path / "template")[0] == 0
    before = {p.name: p.read_bytes() for p in (tmp_path / "template").iterdir() if p.is_file()}
    del before["settings.json"], before[".lock"]

    def fill(folder: Path) -> Path:
        folder.mkdir()
        for name, content in before.items():
            (folder / name).write_bytes(content)
        return folder

    fill(tmp_path / "counted again")
    points = operations_of(tmp_path, lambda: train(tmp_path / "counted again", *other))
    print(f"{len(points)} points")
    for at, operation in enumerate(points):
        folder = fill(tmp_path / f"killed {at} at {operation}")
        with Faults(tmp_path, at), dying():
            train(folder, *other)
        code, said = train(folder, *other)
        assert code == 0, said
        assert_same(folder, expected)
        aside = {p.name: p.read_bytes() for p in folder.glob("previous-*/*")}
        assert {name: aside.get(name) for name in before} == before
