"""A fault at every file operation in turn (tests/support/faults.py), and what must hold after each.

Each test goes through all operations of an undisturbed run, so the number of points is that of the
operations; `python -m pytest tests/reliability/test_fault_injection.py -s` prints them.
"""

import contextlib
import csv
import errno
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

import prepare
import Tester
import Trainer
from core.errors import UserError
from data.dance import DanceData
from data.store.picture_files import PictureFiles
from engine.checkpoints import checkpoint
from engine.checkpoints.results_folder import RESULT_FILES, read_source
from engine.training.run import Run
from tests.support import toy
from tests.support.faults import Faults, dying, in_one_order, operations_of  # noqa: F401
from tests.support.hostile import call, rollout_flags
from tests.support.runs import same

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


# ---------------------------------------------------------------------------------- preparation

SIZE = ("--frame_H", "12", "--frame_W", "12")


def prepare_data(root: Path, out: Path) -> None:
    code, said = call(prepare, "--DR", root, "--out", out, *SIZE, "--num_workers", "1")
    assert code == 0, said


def content_of(root: Path, settings, tmp_path: Path) -> list[bytes]:
    """Return all that a data set gives: frames, poses, cuts and test sequences."""
    found = settings(DR=str(root), frame_H=12, frame_W=12, cache_dir=str(tmp_path / "frames"))
    data = DanceData(found)
    frames = [np.asarray(x) for split in (data.train, data.val) for x in split.decoded(found)]
    clips = [x.numpy() for clip in data.test_clips() for x in (clip.frames, clip.conditions)]
    return [x.tobytes() for x in frames + clips] + [str(data.cuts).encode()]


@pytest.fixture
def changed(root, tmp_path) -> Path:
    """The small data set, with other cuts of the same length and without what was in test/old."""
    changed = Path(shutil.copytree(root, tmp_path / "changed"))
    (changed / "train/cuts.txt").write_text("7\n")
    for folder in ("test_img", "test_label", "test_gt"):
        shutil.copytree(root / "test" / folder / "0", root / "test" / folder / "1")
    (changed / "val/val_img/0.png").write_bytes((changed / "val/val_img/1.png").read_bytes())
    return changed


def test_killed_at_any_operation_a_preparation_is_refused_or_whole(
    root, changed, settings, tmp_path
):
    old, new = (content_of(place, settings, tmp_path) for place in (root, changed))
    prepare_data(root, tmp_path / "prepared")
    points = {}
    for again in (False, True):
        folder = tmp_path / f"counted {again}"
        if again:
            shutil.copytree(tmp_path / "prepared", folder)
        points[again] = operations_of(tmp_path, lambda out=folder: prepare_data(changed, out))
        assert content_of(folder, settings, tmp_path) == new
    names = {path.name for path in (tmp_path / "counted False").rglob("*")}
    assert names == {path.name for path in (tmp_path / "counted True").rglob("*")}
    print(f"{len(points[False])} + {len(points[True])} points")
    every = [(again, at) for again in points for at in range(len(points[again]))]
    for is_again, at in every:
        folder = tmp_path / f"killed {is_again} {at}"
        if is_again:
            shutil.copytree(tmp_path / "prepared", folder)
        with Faults(tmp_path, at) as faults, dying():
            prepare_data(changed, folder)
        assert faults.is_dead
        with contextlib.suppress(UserError):
            assert content_of(folder, settings, tmp_path) in (old, new), points[is_again][at]
        prepare_data(changed, folder)
        assert content_of(folder, settings, tmp_path) == new
        assert {path.name for path in folder.rglob("*")} == names
        shutil.rmtree(folder)


def test_killed_at_any_operation_a_cache_leaves_nothing_and_lies_about_nothing(root, tmp_path):
    folder = root / "train/train_img"

    def decode(cache: Path) -> np.ndarray:
        return np.asarray(PictureFiles.in_folder(folder).frames(12, 12, cache, 1))

    true = decode(tmp_path / "true")
    points = operations_of(tmp_path, lambda: decode(tmp_path / "counted"))
    print(f"{len(points)} points")
    for at, operation in enumerate(points):
        with Faults(tmp_path, at), dying():
            decode(tmp_path / f"killed {at}")
        assert np.array_equal(decode(tmp_path / f"killed {at}"), true), operation
        assert not list((tmp_path / f"killed {at}").rglob("*.tmp"))


# ------------------------------------------------------------------------------------- testing


def results_in(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for pattern in RESULT_FILES for p in folder.glob(pattern)}


def test_killed_at_any_operation_a_test_leaves_results_of_one_checkpoint(
    root, small_run, ours, tmp_path
):
    later = Path(shutil.copy(small_run / "last.ckpt", tmp_path / "later.ckpt"))

    def test(path: Path, folder: Path) -> None:
        flags = ("--save_root", folder, "--overwrite", "--no_report")
        code, said = call(Tester, *rollout_flags(root, path, *flags))
        assert code == 0, said

    whole = {}
    for path in (ours, later):
        test(path, tmp_path / path.stem)
        whole[str(path)] = results_in(tmp_path / path.stem)
    assert whole[str(ours)].keys() == whole[str(later)].keys()
    assert whole[str(ours)] != whole[str(later)]
    shutil.copytree(tmp_path / ours.stem, tmp_path / "counted")
    points = operations_of(tmp_path, lambda: test(later, tmp_path / "counted"))
    print(f"{len(points)} points")
    for at, operation in enumerate(points):
        folder = Path(shutil.copytree(tmp_path / ours.stem, tmp_path / f"killed {at}"))
        with Faults(tmp_path, at), dying():
            test(later, folder)
        source = read_source(folder)
        found, expected = results_in(folder), whole[source["checkpoint"]]
        assert found.items() <= expected.items(), operation
        assert found == expected or source["finished"] is False
    test(later, folder)
    assert results_in(folder) == whole[str(later)]
    assert read_source(folder)["finished"]
    assert not list(folder.rglob("*.tmp"))
