"""What the tests of the report share: two runs, and the Reporter called here."""

from functools import partial

import pytest

import Reporter
from tests.support.hostile import run_here
from tests.support.reporting import make_results, make_run, rollout


@pytest.fixture
def two(tmp_path):
    """Two runs of different annealing with the rollouts of two sequences each."""
    one = make_run(tmp_path / "one", kl_anneal_type="Cyclical")
    other = make_run(tmp_path / "other", scale=3.0, kl_anneal_type="None", lr=0.25)
    for seed, run in enumerate((one, other)):
        make_results(run / "test", rollout("0", seed), rollout("1", seed, data_seed=1))
    return [one, other]


@pytest.fixture
def report(monkeypatch, capsys):
    """Run Reporter.py in this process; returns (code, output, errors)."""
    return partial(run_here, Reporter, monkeypatch, capsys)
