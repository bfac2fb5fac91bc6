"""A run looks at its training set once, whatever it needs it for."""

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

import Trainer
from demo.robot import make_dataset
from tests.support.hostile import call, trainer_flags
from tests.support.scripts import TINY_ROBOT

OPENED: list[Counter] = []  # that count now; Python cannot take an audit hook back


@sys.addaudithook
def count_opening(event: str, given: tuple) -> None:
    if OPENED and event == "open":
        OPENED[-1][str(given[0])] += 1


def counted(method: Callable, count: Counter) -> Callable:
    """Return a method of Path that counts for which paths it is called."""

    def call_and_count(path: Path, *given, **named):
        count[str(path)] += 1
        return method(path, *given, **named)

    return call_and_count


@pytest.fixture
def asked(monkeypatch) -> dict[str, Counter]:
    """How often each path is listed, stat'ed and opened, counted as it happens."""
    counts = {name: Counter() for name in ("iterdir", "stat", "open")}
    for name in ("iterdir", "stat"):
        monkeypatch.setattr(Path, name, counted(getattr(Path, name), counts[name]))
    OPENED.append(counts["open"])
    yield counts
    OPENED.pop()


@pytest.mark.parametrize("cached", [False, True])
def test_a_training_lists_and_stats_the_frames_of_the_dance_once(root, asked, cached):
    """Windows, fingerprint, holdout and the nearest pose all need the training split."""
    flags = trainer_flags(root, "--holdout", "8:12", "--num_epoch", "1", "--batch_size", "1")
    if cached:
        assert call(Trainer, *flags)[0] == 0
        for count in asked.values():
            count.clear()
    code, said = call(Trainer, *flags, "--resume", "never")
    assert code == 0, said
    assert "baselines on holdout: copy first" in said
    assert "nearest pose" in said
    for folder in (root / "train/train_img", root / "train/train_label"):
        pictures = [str(folder / f"{number}.png") for number in range(12)]
        assert asked["iterdir"][str(folder)] == 1
        assert [asked["stat"][path] for path in pictures] == [1] * 12
        assert [asked["open"][path] for path in pictures] == [0 if cached else 1] * 12
    assert asked["open"][str(root / "train/cuts.txt")] == 1


def test_a_training_lists_and_reads_the_sequences_of_the_robot_once(tmp_path, asked):
    """Windows and fingerprint both need the tables of the training split."""
    root = tmp_path / "data"
    make_dataset(root, train_sequences=2, eval_sequences=1, frames=8)
    for count in asked.values():
        count.clear()
    flags = f"--DR {root} --save_root {tmp_path / 'run'} {TINY_ROBOT} --prior fixed"
    code, said = call(Trainer, *flags.split())
    assert code == 0, said
    for folder in (root / "train/traj_0_to_255").iterdir():
        assert asked["iterdir"][str(folder)] == 1
        assert [asked["stat"][str(folder / f"{number}.png")] for number in range(8)] == [1] * 8
        for name in ("actions.csv", "endeffector_positions.csv"):
            assert asked["open"][str(folder / name)] == 1
