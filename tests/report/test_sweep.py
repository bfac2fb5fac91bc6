"""Sweeps: their plan, and what becomes of runs that fail or are stopped."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import Reporter
from report import jobs
from report.runs import read_records
from tests.support.scripts import ROOT, TINY

# ------------------------------------------------------------- with scripts that stand in

FAKE = """
import json, os, pathlib, signal, sys, time
words = sys.argv[1:]
given = dict(zip(words[::2], words[1::2]))
folder = pathlib.Path(given["--save_root"])
here = pathlib.Path(__file__).parent
began = time.monotonic()
with (here / "calls").open("a") as file:
    file.write(json.dumps([pathlib.Path(__file__).name, *words]) + "\\n")
folder.mkdir(parents=True, exist_ok=True)
def stop(signum, frame):
    (folder / "saved").touch()
    sys.exit(128 + signum)
signal.signal(signal.SIGTERM, stop)
name = folder.name if folder.name != "test" else folder.parent.name
if (here / "pair").exists() and name in ("seed=1", "seed=2"):  # each waits for the other
    (here / name).touch()
    while len(list(here.glob("seed=*"))) < 2 and time.monotonic() < began + 30:
        time.sleep(0.01)
if (here / "wait").exists():
    (folder / "begun").write_text(str(os.getpid()))
    time.sleep(60)
if (here / "fails").exists() and name in (here / "fails").read_text().split("/"):
    print("error: made to fail", file=sys.stderr)
    sys.exit(3)
(folder / "times").write_text(f"{began} {time.monotonic()}")
"""


class Scripts:
    """Scripts that stand in for Trainer and Tester: they note their flags, and may fail or wait."""

    def __init__(self, folder: Path):
        self.folder = folder
        for name in ("Trainer.py", "Tester.py"):
            (folder / name).write_text(FAKE)

    def calls(self) -> list[list[str]]:
        path = self.folder / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return [json.loads(line) for line in lines]

    def fail(self, *names: str) -> None:
        (self.folder / "fails").write_text("/".join(names))


@pytest.fixture
def scripts(monkeypatch, tmp_path) -> Scripts:
    """Stand in for the scripts, and for the report, which has tests of its own."""
    folder = tmp_path / "scripts"
    folder.mkdir()
    monkeypatch.setattr(jobs, "ROOT", folder)
    monkeypatch.setattr(jobs, "POLL_SECONDS", 0.01)
    named = lambda paths, *_: print("reported", *sorted(path.name for path in paths))  # noqa: E731
    monkeypatch.setattr(Reporter, "write_report", named)
    return Scripts(folder)


def test_a_sweep_goes_on_where_it_was_stopped(report, scripts, tmp_path):
    words = ["--sweep", "--DR", tmp_path, "--out", tmp_path / "s", "--kl_anneal_type", "Cyclical"]
    words += ["None", "--", "--num_epoch", "6"]
    scripts.fail("type=Cyclical")
    code, out, err = report(*words)
    assert code == 2
    assert "1 of 2 runs failed: type=Cyclical: Trainer.py ended with code 3" in err
    assert "reported type=None\n" in out, "the others' results are reported"
    assert [call[0] for call in scripts.calls()] == ["Trainer.py", "Trainer.py", "Tester.py"]

    scripts.fail()
    code, out, err = report(*words)
    assert code == 0, err
    assert "type=None: done before" in out
    training, testing = scripts.calls()
    last = str(tmp_path / "s" / "type=Cyclical")
    assert training == [
        *("Trainer.py", "--DR", str(tmp_path), "--num_epoch", "6"),
        *("--kl_anneal_type", "Cyclical", "--save_root", last),
    ]
    assert testing[:3] == ["Tester.py", "--DR", str(tmp_path)]
    assert "reported type=Cyclical type=None\n" in out

    assert report(*words)[0] == 0
    assert scripts.calls() == []
    code, _, err = report(*words[:-1], "7")
    assert code == 2
    assert "another sweep" in err


def test_a_sweep_takes_more_values_of_its_flags(report, scripts, tmp_path):
    words = ["--sweep", "--DR", tmp_path, "--out", tmp_path / "s", "--seed", "1"]
    assert report(*words)[0] == 0
    scripts.calls()
    assert report(*words, "2")[0] == 0
    assert {Path(call[call.index("--ckpt_path") + 1]).name for call in scripts.calls()[1:]} == {
        "seed=2"
    }
    code, _, err = report(*words)
    assert code == 2, "the run of the other seed is in this folder too"
    assert "another sweep" in err


def test_a_sweep_begun_as_a_study_goes_on(report, scripts, tmp_path):
    words = ["--study", "--DR", tmp_path, "--out", tmp_path / "s", "--tfr", "0", "--", "--lr", "1"]
    assert report(*words)[0] == 0
    (tmp_path / "s" / "sweep.json").rename(tmp_path / "s" / "study.json")
    scripts.calls()
    assert report("--sweep", *words[1:])[0] == 0
    assert scripts.calls() == []
    assert not (tmp_path / "s" / "sweep.json").exists()
    code, _, err = report(*words[:-1], "2")
    assert code == 2
    assert "study.json: another sweep" in err


def test_several_devices_train_side_by_side(report, scripts, tmp_path):
    words = ["--sweep", "--DR", tmp_path, "--out", tmp_path / "s", "--seed", "1", "2", "3", "4"]
    scripts.fail("seed=3")
    (scripts.folder / "pair").touch()
    code, out, err = report(*words, "--devices", "cpu", "cpu")
    assert code == 2
    assert "1 of 4 runs failed: seed=3: Trainer.py ended with code 3: error: made to fail" in err
    assert "reported seed=1 seed=2 seed=4\n" in out
    assert all(call[-2:] == ["--device", "cpu"] for call in scripts.calls())
    assert "made to fail" in (tmp_path / "s/logs/seed=3.log").read_text()
    times = [(tmp_path / f"s/seed={k}/times").read_text().split() for k in (1, 2)]
    (first_began, first_ended), (second_began, second_ended) = (map(float, t) for t in times)
    assert first_began < second_ended
    assert second_began < first_ended
    plan = json.loads((tmp_path / "s" / "sweep.json").read_text())
    assert "cpu" not in json.dumps(plan), "other devices go on with the same sweep"


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("devices", [1, 2])
def test_a_stopped_sweep_waits_for_its_trainers_to_save(report, scripts, tmp_path, devices):
    (scripts.folder / "wait").touch()
    begun = [tmp_path / f"s/seed={k}/begun" for k in range(1, devices + 1)]

    def stop(*_):
        if all(path.exists() and path.read_text() for path in begun):
            # Another alarm may be waiting already, and a second signal would end the tests.
            signal.signal(signal.SIGALRM, signal.SIG_IGN)
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
    try:
        words = ["--sweep", "--DR", tmp_path, "--out", tmp_path / "s", "--seed", "1", "2", "3"]
        code, out, _ = report(*words, "--devices", *["cpu"] * devices)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert code == 143
    assert "reported" not in out
    for path in begun:
        assert path.with_name("saved").exists()
        with pytest.raises(ProcessLookupError):
            os.kill(int(path.read_text()), 0)
    assert not (tmp_path / "s/seed=3").exists()


def test_a_process_that_is_killed_fails_by_itself(scripts, tmp_path):
    (scripts.folder / "Killed.py").write_text("import os; os.kill(os.getpid(), 9)")
    failed = jobs.run_jobs(
        [jobs.Job("a", [["Killed.py"]], lambda: None)], [None], tmp_path / "logs"
    )
    assert failed == {"a": "Killed.py was ended by signal 9 (its words are above)"}


def test_trouble_of_the_sweep_itself_ends_its_trainers(scripts, tmp_path):
    """A disk that is full when one run is noted as done does not leave the other training."""
    (scripts.folder / "Slow.py").write_text(
        "import pathlib, os, time\n"
        f"pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(os.getpid()))\n"
        "time.sleep(60)\n"
    )
    (scripts.folder / "Quick.py").write_text(
        f"import pathlib, time\nwhile not pathlib.Path({str(tmp_path / 'pid')!r}).exists():\n"
        "    time.sleep(0.01)\n"
    )

    def full_disk():
        raise OSError(28, "No space left on device")

    pair = [jobs.Job("a", [["Slow.py"]], lambda: None), jobs.Job("b", [["Quick.py"]], full_disk)]
    with pytest.raises(OSError, match="No space"):
        jobs.run_jobs(pair, ["cpu", "cpu"], tmp_path / "logs")
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_without_a_grid_the_sweep_is_the_labs(report, scripts, tmp_path):
    assert report("--sweep", "--DR", tmp_path, "--out", tmp_path / "s")[0] == 0
    plan = json.loads((tmp_path / "s" / "sweep.json").read_text())
    assert len(plan["experiments"]) == 5
    assert plan["experiments"]["none"] == {"kl_anneal_type": "None"}
    assert plan["split"] == "val"
    cyclical = next(c for c in scripts.calls() if any("20-0.8" in word for word in c))
    assert cyclical[cyclical.index("--kl_anneal_cycle") :][:2] == ["--kl_anneal_cycle", "20"]


@pytest.mark.parametrize("before", [True, False])
def test_a_sweep_of_the_robot_is_tested_on_its_test_split(report, scripts, tmp_path, before):
    words = ["--sweep", "--DR", tmp_path, "--out", tmp_path / "s", "--seed", "1"]
    words += ["--model", "svg"] if before else ["--", "--model", "svg"]
    assert report(*words)[0] == 0
    assert json.loads((tmp_path / "s" / "sweep.json").read_text())["split"] == "test"


# --------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--sweep"], "--DR"),
        (["run", "--sweep", "--DR", "."], "run"),
        (["run", "--tfr", "1"], "--tfr: belongs to a sweep"),
        (["run", "--devices", "cpu"], "--devices: belongs to a sweep"),
        (["run", "--", "--lr", "1"], "--sweep"),
        (["--sweep", "--DR", ".", "--tfr", "2"], "at most 1"),
        (["--sweep", "--DR", ".", "--tfr"], "--tfr: no values"),
        (["--sweep", "--DR", ".", "--tfr", "0", "0.0"], "--tfr 0: stands there twice"),
        (["--sweep", "--DR", ".", "--tfr_sd", "0", "10"], "did you mean --tfr_sde?"),
        (["--sweep", "--DR", ".", "--optim", "Adam", "Sgd"], "'Sgd' is not one of Adam"),
        (["--sweep", "--DR", ".", "--augment", "maybe"], "neither on nor off"),
        (["--sweep", "--DR", ".", "--tfr", "1", "--", "--tfr", "0"], "--tfr: stands before"),
        (["--sweep", "--DR", ".", "--optim", "Adam", "--", "--optimizer=Adam"], "--optim: stands"),
        (["--sweep", "--DR", ".", "--", "--save_root", "x"], "--save_root"),
        (["--sweep", "--DR", ".", "--", "--dry_run"], "--dry_run"),
        (["--sweep", "--DR", ".", "--", "--lr", "fast"], "--lr"),
        (["--sweep", "--DR", ".", "--seed", "1", "--", "--g_dim", "8"], "--g_dim is for --model"),
        (["--sweep", "--DR", ".", "--patch_size", "1", "4", "--", "--frame_H", "18"], "--frame_H"),
        (["--sweep", "--DR", ".", "--warm_start", "no.ckpt"], "no.ckpt"),
        (["--sweep", "--DR", ".", "--devices", "cuda:99"], "cuda:99"),
        (["--sweep", "--DR", ".", "--devices", "cpu", "--", "--device", "cpu"], "--devices"),
        (["--sweep", "--DR", ".", "--one_at_a_time", "--seed", "1", "2"], "--one_at_a_time"),
    ],
)
def test_sweeps_that_make_no_sense(report, tmp_path, words, says):
    code, _, err = report("--out", tmp_path / "out", *words)
    assert code == 2
    assert says in err
    assert not (tmp_path / "out").exists()


def test_a_plan_that_is_none_is_named(report, tmp_path):
    (tmp_path / "s").mkdir()
    for text in ("[]", "{", '{"experiments": 3}'):
        (tmp_path / "s/sweep.json").write_text(text)
        code, _, err = report("--sweep", "--DR", ".", "--out", tmp_path / "s", "--tfr", "0")
        assert code == 2
        assert "sweep.json: not the plan of a sweep" in err


# ------------------------------------------------------------------- as a user runs it


def test_a_sweep_as_a_user_runs_it(dance_root, tmp_path):
    command = [sys.executable, str(ROOT / "Reporter.py"), "--sweep", "--DR", str(dance_root)]
    command += ["--out", str(tmp_path / "s"), "--lr_milestones", "1,3", "--augment", "off", "--"]
    command += [*TINY.split(), "--num_epoch", "1", "--threads", "1"]
    quiet = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=quiet)
    assert done.returncode == 0, done.stderr
    (record,) = read_records([tmp_path / "s/lr_milestones=1,3_augment=off"])
    assert record.settings["lr_milestones"] == [1, 3]
    assert record.rollouts
    assert (tmp_path / "s/report.html").exists()
