"""Sweeps: a grid of runs, trained, tested and gone on with."""

import json
import signal

import pytest

import Reporter
from report import sweep
from report.runs import read_records
from tests.support.reporting import make_results, make_run, rollout


def test_a_grid_has_every_combination():
    made = sweep.grid({"kl_anneal_type": ["Cyclical", "None"], "tfr": ["0", "1"]})
    assert list(made) == [
        "type=Cyclical_tfr=0",
        "type=Cyclical_tfr=1",
        "type=None_tfr=0",
        "type=None_tfr=1",
    ]
    assert made["type=None_tfr=0"] == {"kl_anneal_type": "None", "tfr": "0"}


@pytest.fixture
def scripts(monkeypatch):
    """Stand in for Trainer and Tester, and for the report, which has tests of its own.

    Returns the list of calls, and the set of the names of runs whose training is to fail.
    """
    called: list[list[str]] = []
    fails: set[str] = set()

    def call(script, *flags):
        called.append([script, *flags])
        given = dict(zip(flags[::2], flags[1::2]))
        folder = sweep.Path(given["--save_root"])
        if script == "Tester.py":
            make_results(folder, rollout("0", len(called)))
            return
        make_run(folder, kl_anneal_type=given.get("--kl_anneal_type"))
        if folder.name in fails:
            raise sweep.UserError("Trainer.py ended with code 1")

    monkeypatch.setattr(sweep, "_call", call)
    monkeypatch.setattr(Reporter, "write_report", lambda paths, *_: print(read_records(paths)))
    return called, fails


def test_a_sweep_goes_on_where_it_was_stopped(report, scripts, tmp_path):
    called, fails = scripts
    words = ["--sweep", "--DR", tmp_path, "--out", tmp_path / "s", "--kl_anneal_type", "Cyclical"]
    words += ["None", "--", "--num_epoch", "6"]
    fails.add("type=None")
    code, _, err = report(*words)
    assert code == 2
    assert "code 1" in err
    assert [c[0] for c in called] == ["Trainer.py", "Tester.py", "Trainer.py"]
    assert "--kl_anneal_type" in called[-1]

    fails.clear()
    called.clear()
    code, out, err = report(*words)
    assert code == 0, err
    assert "done before" in out
    (training, testing) = called
    last = str(tmp_path / "s" / "type=None")
    assert training == [
        *("Trainer.py", "--DR", str(tmp_path), "--num_epoch", "6"),
        *("--kl_anneal_type", "None", "--save_root", last),
    ]
    assert testing[0] == "Tester.py"
    assert out.count("Record(label='type=") == 2

    called.clear()
    assert report(*words)[0] == 0
    assert called == []
    code, _, err = report(*words[:-1], "7")
    assert code == 2
    assert "another sweep" in err


def test_a_sweep_begun_as_a_study_goes_on(report, scripts, tmp_path):
    called, _ = scripts
    words = ["--study", "--DR", tmp_path, "--out", tmp_path / "s", "--tfr", "0", "--", "--lr", "1"]
    assert report(*words)[0] == 0
    (tmp_path / "s" / "sweep.json").rename(tmp_path / "s" / "study.json")
    called.clear()
    assert report("--sweep", *words[1:])[0] == 0
    assert called == []
    assert not (tmp_path / "s" / "sweep.json").exists()
    code, _, err = report(*words[:-1], "2")
    assert code == 2
    assert "study.json: another sweep" in err


def test_a_sweep_passes_on_that_it_is_to_stop(tmp_path, monkeypatch):
    """Its script hears of a SIGTERM, may save, and the sweep ends when it has."""
    (tmp_path / "Slow.py").write_text(
        "import pathlib, signal, sys, time\n"
        "here = pathlib.Path(__file__).parent\n"
        "def stop(*_):\n    (here / 'saved').touch(); sys.exit(143)\n"
        "signal.signal(signal.SIGTERM, stop)\n"
        "(here / 'begun').touch()\n"
        "time.sleep(60)\n"
    )
    monkeypatch.setattr(sweep, "ROOT", tmp_path)

    def stop(*_):
        if (tmp_path / "begun").exists():
            raise SystemExit(143)

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 0.2, 0.2)
    try:
        with pytest.raises(SystemExit):
            sweep._call("Slow.py")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert (tmp_path / "saved").exists()


def test_without_a_grid_the_sweep_is_the_labs(report, scripts, tmp_path):
    called, _ = scripts
    assert report("--sweep", "--DR", tmp_path, "--out", tmp_path / "s")[0] == 0
    plan = json.loads((tmp_path / "s" / "sweep.json").read_text())
    assert len(plan["experiments"]) == 4
    assert plan["split"] == "val"
    assert called[4][called[4].index("--kl_anneal_cycle") :][:2] == ["--kl_anneal_cycle", "20"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--sweep"], "--DR"),
        (["run", "--sweep", "--DR", "."], "run"),
        (["run", "--tfr", "1"], "--sweep"),
        (["run", "--", "--lr", "1"], "--sweep"),
        (["--sweep", "--DR", ".", "--tfr", "2"], "at most 1"),
        (["--sweep", "--DR", ".", "--tfr", "1", "--", "--tfr", "0"], "--tfr"),
        (["--sweep", "--DR", ".", "--", "--save_root", "x"], "--save_root"),
    ],
)
def test_sweeps_that_make_no_sense(report, tmp_path, words, says):
    code, _, err = report("--out", tmp_path / "out", *words)
    assert code == 2
    assert says in err
    assert not (tmp_path / "out").exists()
