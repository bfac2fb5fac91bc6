"""Reporter.py: what it writes, and what it refuses."""

import csv
import re

import numpy as np
import pytest

from tests.support.reporting import make_results, make_run, rollout


def test_the_reporter_writes_figures_table_and_page(two, report, tmp_path):
    out = tmp_path / "out"
    code, _, err = report(*two, "--out", out, "--times", 0, 5, 700, "--sequences", "1")
    assert code == 0, err
    names = {path.name for path in out.iterdir()}
    for name in ("losses", "schedules", "teacher_forcing", "annealing", "validation"):
        assert {f"{name}.png", f"{name}.svg"} <= names
    assert {"scores.png", "drift.svg", "strip_1.svg", "report.html"} <= names
    assert "strip_0.png" not in names
    with (out / "runs.csv").open() as file:
        table = list(csv.DictReader(file))
    assert table == [
        {"run": "one", "lr": "0.001", "kl_anneal_type": "Cyclical"},
        {"run": "other", "lr": "0.25", "kl_anneal_type": "None"},
    ]


def test_reports_of_runs_over_seeds_have_their_table(report, tmp_path):
    for seed in (1, 2):
        run = make_run(tmp_path / f"runs/{seed}", seed=seed)
        make_results(run / "test", rollout("0", seed))
    assert report(tmp_path / "runs", "--out", tmp_path / "out")[0] == 0
    assert "| all runs | 1, 2 | 25.00 | 0.00 |" in (tmp_path / "out/arms.md").read_text()


def test_runs_that_do_not_differ_in_their_seed_alone_have_no_table_of_arms(report, tmp_path):
    for k, own in enumerate(({"seed": 1}, {"seed": 1}, {}, {"seed": 2, "lr": 0.25})):
        make_run(tmp_path / f"runs/{k}", **own)
    code, out, _ = report(tmp_path / "runs", "--out", tmp_path / "out")
    assert code == 0
    assert "differences" not in out
    assert "| seeds |" not in out
    assert not list((tmp_path / "out").glob("arms*"))


def test_sequences_of_one_name_and_other_data_stand_apart(report, tmp_path):
    """As those of a sweep over frame sizes or holdouts."""
    for seed, (frames, height) in enumerate(((40, 8), (30, 8), (40, 12), (40, 8))):
        run = make_run(tmp_path / f"runs/{seed}", seed=seed)
        make_results(run / "test", rollout("0", seed, frames=frames, height=height))
    code, _, err = report(tmp_path / "runs", "--out", tmp_path / "out")
    assert code == 0, err
    strips = {path.stem for path in (tmp_path / "out").glob("strip_*.png")}
    assert strips == {"strip_0", "strip_0 (2)", "strip_0 (3)"}
    page = (tmp_path / "out/report.html").read_text()
    assert re.findall(r'"name": "(0[^"]*)"', page) == ["0", "0 (2)", "0 (3)"]


LOG = "epoch,loss\n0,1.0\n1,0.5\n"


@pytest.mark.parametrize(
    ("log", "says"),
    [
        ("", "no epoch"),
        ("epoch,loss\n", "no epoch"),
        ("epoch,loss\n0,1.0\n1", "line 3"),
        ("epoch,loss\n0,1.0\n1,0.5,7\n", "line 3"),
        ("epoch,loss\n0,one\n", "'one' in column loss"),
        ("time,price\n0,1\n", "time, price"),
        ("epoch,epoch\n0,1\n", "epoch"),
        ("epoch,loss\n1,1\n1,2\n", "do not rise"),
        ("epoch,loss\n,1\n", "do not rise"),
        ("epoch,loss\n0,\x00\n", "metrics.csv"),
    ],
)
def test_a_log_that_is_none(report, tmp_path, log, says):
    run = tmp_path / "run"
    run.mkdir()
    (run / "metrics.csv").write_text(log)
    code, _, err = report(run, "--out", tmp_path / "out")
    assert code == 2
    assert says in err
    assert "metrics.csv" in err
    assert not (tmp_path / "out").exists()


def test_a_log_that_is_no_text(report, tmp_path):
    (tmp_path / "metrics.csv").write_bytes(b"\xff\xfe\x00epoch")
    code, _, err = report(tmp_path, "--out", tmp_path / "out")
    assert code == 2
    assert "metrics.csv" in err


def test_a_run_with_few_columns_is_shown_with_what_it_has(report, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "metrics.csv").write_text("epoch,loss,other\n0,1.0,nan\n1,inf,2\n")
    code, _, err = report(run, "--out", tmp_path / "out")
    assert code == 0, err
    assert (tmp_path / "out" / "losses.png").exists()
    assert not (tmp_path / "out" / "validation.png").exists()


def test_runs_that_are_not_there(report, tmp_path):
    assert "nowhere" in report(tmp_path / "nowhere", "--out", tmp_path / "out")[2]
    (tmp_path / "empty").mkdir()
    code, _, err = report(tmp_path / "empty", "--out", tmp_path / "out")
    assert code == 2
    assert "metrics.csv" in err
    assert "RUN" in report("--out", tmp_path / "out")[2]
    (tmp_path / "file").write_text("mine")
    run = make_run(tmp_path / "run")
    assert "--out" in report(run, "--out", tmp_path / "file")[2]
    code, _, err = report(run, "--out", tmp_path / "out", "--sequences", "7")
    assert code == 2
    assert "--sequences 7" in err
    (run / "settings.json").write_text("[1")
    assert "settings.json" in report(run, "--out", tmp_path / "out")[2]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "spoil", ["truncated", "text", "empty", "pickle", "shapes", "scores", "name"]
)
def test_a_rollout_that_is_none(report, tmp_path, spoil):
    make_results(tmp_path, rollout("0", 1))
    path = tmp_path / "rollout_seq0.npz"
    data = path.read_bytes()
    with np.load(path) as archive:
        arrays = dict(archive)
    match spoil:
        case "truncated":
            path.write_bytes(data[: len(data) // 2])
        case "text" | "empty":
            path.write_text("hello" if spoil == "text" else "")
        case "pickle":
            np.savez(path, **arrays | {"clip0": np.array([{}], object)})
        case "shapes":
            np.savez(path, **arrays | {"clip1": arrays["clip1"][:, :4]})
        case "name":
            described = arrays["description"].tobytes().replace(b'"name": "0"', b'"name": "../0"')
            np.savez(path, **arrays | {"description": np.frombuffer(described, np.uint8)})
        case "scores":
            np.savez(path, **arrays | {"psnr0": arrays["psnr0"][1:]})
    code, _, err = report(tmp_path, "--out", tmp_path / "out")
    assert code == 2
    assert "rollout_seq0.npz" in err
