"""Recorded steps beside steps as they are written, with the work itself in the graph's place."""

import copy
import time

import pytest
import torch

from core import graphs
from core.device import Compute
from dataloader import DanceWindows
from engine.training import prepared_steps
from engine.training.overview import print_timed_steps
from engine.training.prediction_buffer import PredictionBuffer
from engine.training.run import Run
from modules.vae import CVAE, CVAEConfig
from tests.support.graphs import StandIn, stand_in
from tests.support.runs import same
from Trainer import VAE_Model

CPU = torch.device("cpu")
PATTERNS = [[True, True], [False, True], [True, True], [False, False], [False, True]]


def begun(flags, data: DanceWindows) -> Run:
    """Return a run whose rates are tensors and whose steps are masked, as on a GPU."""
    torch.manual_seed(0)
    run = Run(CVAE(CVAEConfig.from_settings(flags)), flags, Compute(CPU))
    run.prediction_buffer = PredictionBuffer(data.frames)
    run.optimizer.masked = True
    for group in run.optimizer.param_groups:
        group["lr"] = torch.tensor(flags.lr)
    return run


def state(run: Run) -> dict:
    return copy.deepcopy(run.resume_state() | {"skipped": run.guard.skipped_in_a_row})


def train(run: Run, data: DanceWindows, spoil: int | None = None) -> list[dict]:
    """Take a step of each pattern; return the metrics of all of them, read at the end."""
    metrics, batches = [], data.batches(0)
    for number, forced in enumerate(PATTERNS):
        batch = next(batches)
        if number == spoil:
            batch.frames[0, 1, 0, 3, 3] = float("nan")
        run.schedule()
        beta = torch.tensor(0.1 * number)
        run.prepare_step(batch, forced, beta)
        metrics.append(run.train_step(batch, forced, beta))
    return metrics


@pytest.fixture
def flags(dance_root, settings):
    return settings(
        DR=str(dance_root), train_vi_len=3, batch_size=4, prediction_buffer=True, augment=True,
        context_swap=0.5, frame_H=16, frame_W=16, lr=1e-2, lr_warmup=3,
    )  # fmt: skip


@pytest.mark.parametrize("optim", ["AdamW", "Muon"])
def test_recorded_steps_are_those_that_are_written(flags, optim, monkeypatch):
    """Bit for bit: weights, optimizer, buffer, metrics; one step of them is not finite."""
    flags = flags.but(optim=optim)
    data = DanceWindows(flags, CPU)
    oracle = begun(flags, data)
    expected = train(oracle, data, spoil=2)
    recorded = stand_in(monkeypatch)
    run = begun(flags, data)
    metrics = train(run, data, spoil=2)
    assert [graph.replays for graph in recorded] == [2, 2, 1]
    assert run.steps.recorded == 3
    assert same(metrics, expected)
    assert [float(m["skipped"]) for m in metrics] == [0, 0, 1, 0, 0]
    assert same(state(run), state(oracle))


def test_to_prepare_a_step_changes_nothing(flags, monkeypatch):
    data = DanceWindows(flags, CPU)
    batch = next(data.batches(0))
    stand_in(monkeypatch)
    run, untouched = begun(flags, data), begun(flags, data)
    for one in (run, untouched):  # the optimizer has its state from here on
        one.train_step(batch, [True, True], 0.1)
    assert run.prepare_step(batch, [False, True], 0.1)
    assert same(state(run), state(untouched))
    assert not run.prepare_step(batch, [False, True], 0.1)


def test_of_many_patterns_the_first_are_prepared(flags, monkeypatch):
    """With a toss for every step nearly every pattern is a new one."""
    monkeypatch.setattr(prepared_steps, "MOST", 2)
    recorded, data = stand_in(monkeypatch), DanceWindows(flags, CPU)
    run = begun(flags, data)
    train(run, data)
    assert [graph.replays for graph in recorded] == [2, 2]


def test_where_recording_fails_steps_are_taken_as_they_are_written(flags, monkeypatch, capsys):
    data = DanceWindows(flags, CPU)
    oracle = begun(flags, data)
    expected = train(oracle, data)
    stand_in(monkeypatch)

    def fail(work, device, warm_up):
        StandIn(work, device, warm_up)
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(graphs, "record", fail)
    run = begun(flags, data)
    assert same(train(run, data), expected)
    assert same(state(run), state(oracle))
    assert capsys.readouterr().out.count("could not be recorded as a CUDA graph") == 3


@pytest.mark.parametrize("lacks", ["a rate that is a tensor", "an optimizer that is masked"])
def test_what_would_be_read_once_is_not_recorded(flags, lacks, monkeypatch):
    recorded, data = stand_in(monkeypatch), DanceWindows(flags, CPU)
    run = begun(flags.but(optim="Muon"), data)
    if lacks.startswith("a rate"):
        for group in run.optimizer.param_groups:
            group["lr"] = 0.01
    else:
        run.optimizer.masked = False
    assert run.prepare_step(next(data.batches(0)), [False, True], 0.1)
    assert recorded == []
    assert run.steps.recorded == 0


def test_a_dry_run_times_steps_as_they_will_be_taken(flags, monkeypatch, capsys):
    recorded, data = stand_in(monkeypatch), DanceWindows(flags, CPU)
    print_timed_steps(begun(flags.but(optim="AdamW"), data), data)
    assert sum(graph.replays for graph in recorded) > 1
    assert capsys.readouterr().out.startswith("a step takes ")


def test_time_spent_preparing_moves_no_schedule(dance_root, settings, tmp_path, monkeypatch):
    """A run of 1.2 seconds whose first step takes longer than that to compile."""
    flags = settings(
        DR=str(dance_root), save_root=str(tmp_path), minutes=0.02, num_epoch=4, batch_size=4,
        train_vi_len=2, val_vi_len=4, frame_H=16, frame_W=16, threads=1, per_save=100,
    )  # fmt: skip
    prepared = []

    def prepare(run, *given):
        if prepared:
            return False
        prepared.append(time.sleep(1.5))
        return True

    monkeypatch.setattr(Run, "prepare_step", prepare)
    trainer = VAE_Model(flags).trainer
    trainer.fit()
    assert trainer.run.step > 1
