"""What the tests of the report share: two runs, and the Reporter called here."""

import sys

import pytest

import Reporter
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

    def call(*words) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["Reporter.py", *map(str, words)])
        try:
            Reporter.main()
            code = 0
        except SystemExit as stopped:
            code = stopped.code
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return code, said.out, said.err

    return call
