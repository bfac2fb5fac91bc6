"""Figures show what was logged; runs and roll-outs are read with care; studies go on."""

import base64
import csv
import json
import signal
import sys
import zlib

import numpy as np
import pytest
import torch

import Reporter
from data.types import Clip
from engine.evaluation.sampling import Sampled
from report import rollout_figures as shown
from report import study
from report.codec import pack, pack_all
from report.rollouts import COPIED, from_samples, read_rollouts
from report.runs import labels, read_records
from report.style import to_svg
from report.training_figures import training_figures
from tests.support.reporting import ROWS, make_results, make_run, robot, rollout

# ------------------------------------------------------------------------ figures


def lines_of(axis) -> dict[str, tuple]:
    return {line.get_label(): line.get_data() for line in axis.lines}


@pytest.fixture
def two(tmp_path):
    """Two runs of different annealing with the roll-outs of two sequences each."""
    one = make_run(tmp_path / "one", kl_anneal_type="Cyclical")
    other = make_run(tmp_path / "other", scale=3.0, kl_anneal_type="None", lr=0.25)
    for seed, run in enumerate((one, other)):
        make_results(run / "test", rollout("0", seed), rollout("1", seed, data_seed=1))
    return [one, other]


def test_the_lines_of_the_losses_are_the_logged_values(two):
    drawn = training_figures(read_records(two))
    total, mse, kl, elbo = drawn["losses"].axes
    epochs = np.arange(6)
    for axis, column, sign in ((mse, "mse", 1), (kl, "kl", 1), (elbo, "elbo", -1)):
        x, y = lines_of(axis)["one"]
        np.testing.assert_array_equal(x, epochs)
        np.testing.assert_allclose(y, [sign * row[column] for row in ROWS])
    np.testing.assert_allclose(lines_of(total)["other"][1], [3 * row["loss"] for row in ROWS])
    assert mse.get_yscale() == "log"
    for axis, column in zip(drawn["schedules"].axes, ("beta", "tfr", "lr")):
        np.testing.assert_allclose(lines_of(axis)["one"][1], [row[column] for row in ROWS])


def test_teacher_forcing_and_loss_share_a_panel(two):
    left, right = training_figures(read_records(two))["teacher_forcing"].axes
    np.testing.assert_allclose(lines_of(left)["one"][1], [row["loss"] for row in ROWS])
    np.testing.assert_allclose(lines_of(right)["one"][1], [row["tfr"] for row in ROWS])
    assert "ratio" in right.get_ylabel()


def test_annealing_types_have_a_column_each(two, tmp_path):
    drawn = training_figures(read_records(two))["annealing"]
    assert [axis.get_title(loc="left") for axis in drawn.axes[:2]] == [
        "annealing: Cyclical",
        "annealing: None",
    ]
    assert list(lines_of(drawn.axes[0])) == ["one"]
    assert list(lines_of(drawn.axes[1])) == ["other"]
    assert "annealing" not in training_figures(read_records(two[:1]))


def test_validation_is_drawn_where_it_was_done_with_its_baselines(two):
    psnr, _ = training_figures(read_records(two[:1]))["validation"].axes
    drawn = lines_of(psnr)
    np.testing.assert_array_equal(drawn["one"], ([1, 3, 5], [21, 23, 25]))
    assert list(drawn[COPIED["copy_first"]][1]) == [23.25, 23.25]
    assert list(drawn["nearest pose"][1]) == [24.5, 24.5]
    assert psnr.get_ylabel() == "PSNR (dB)"


def test_ticks_are_the_values_and_not_what_they_have_beyond_one_of_them(two):
    records = read_records(two[:1])
    log = records[0].log
    log["val_ssim"] += 0.08543 + 1e-5 * log["epoch"]  # NaN stays NaN
    figure = training_figures(records)["validation"]
    figure.draw_without_rendering()
    ticks = [float(label.get_text()) for label in figure.axes[1].get_yticklabels()]
    assert all(0.9853 < tick < 0.9856 for tick in ticks)


def test_scores_by_frame_are_drawn_and_the_weak_spot_is_found(two):
    records = read_records(two)
    drawn = shown.rollout_figures({r.label: r.rollouts for r in records})["scores"]
    psnr, ssim, *_ = drawn.axes
    known = records[0].rollouts[0].scores
    np.testing.assert_array_equal(lines_of(psnr)["one"][1], known["psnr"]["prediction"])
    np.testing.assert_array_equal(lines_of(ssim)["one"][1], known["ssim"]["prediction"])
    np.testing.assert_array_equal(
        lines_of(psnr)[COPIED["copy_first"]][1], known["psnr"][COPIED["copy_first"]]
    )

    values = np.full(300, 30.0)
    values[0] = np.nan
    values[120:140] = 20
    values[220:240] = 25
    first, second, *_ = shown.weak_spots(values)
    assert 120 <= first < 140
    assert 220 <= second < 240
    assert shown.weak_spots(np.array([np.nan, 3.0, 2.0, 4.0])) == [2]
    assert shown.weak_spots(np.full(5, np.nan)) == []


def test_the_drift_curve_is_the_mean_of_pieces():
    long = np.r_[np.nan, np.arange(1, 630.0)]
    short = np.r_[np.nan, np.full(150, 1000.0)]
    middles, means = shown.drift_curve([long, short])
    assert middles[:2] == [50.5, 150.5]
    assert means[0] == pytest.approx((np.arange(1, 101).mean() + 1000) / 2)
    assert means[1] == pytest.approx((np.arange(101, 201).mean() + 1000) / 2)
    assert means[2] == pytest.approx(np.arange(201, 301).mean())
    assert means[-1] == pytest.approx(np.arange(601, 630).mean())


def test_a_strip_shows_the_frames_and_their_errors(two):
    (record,) = read_records(two[:1])
    first = record.rollouts[0]
    axis, _ = shown.strip({"one": first}, times=[3, 39]).axes
    assert [text.get_text() for text in axis.get_xticklabels()] == ["frame 3", "frame 39"]
    assert [text.get_text() for text in axis.get_yticklabels()] == [
        *("pose", "truth", "prediction", "prediction, error"),
    ]
    sheet = axis.images[0].get_array()
    height, width = 8 + shown.GAP, 16 + shown.GAP
    truth = sheet[height : height + 8, width : width + 16, :3]
    np.testing.assert_allclose(truth, first.clips["truth"][39] / 255)
    error = np.abs(first.clips["prediction"][39] - first.clips["truth"][39].astype(float)).mean(2)
    found = sheet[3 * height : 3 * height + 8, width : width + 16]
    wanted = shown.matplotlib.colormaps["magma"](np.clip(error / shown.ERROR_SCALE, 0, 1))
    np.testing.assert_allclose(found, wanted)


def test_figures_are_the_same_each_time_and_survive_any_name(tmp_path):
    records = read_records([make_run(tmp_path / "run", kl_anneal_type="<i>")])
    records[0].label = "_$\\frac$<b>&"
    one, two = (to_svg(training_figures(records)["losses"], "losses") for _ in range(2))
    assert one == two
    assert "_$\\frac$&lt;b&gt;&amp;" in one
    assert "<b>" not in one


# ------------------------------------------------------------------------ reading


def test_a_rollout_is_read_as_it_was_written(tmp_path):
    for original in (rollout("0", 1), robot("a-b")):
        make_results(tmp_path, original)
        (found,) = read_rollouts(tmp_path)
        assert (found.name, found.given, found.about) == (
            original.name,
            original.given,
            original.about,
        )
        assert list(found.clips) == list(original.clips)
        for name, frames in original.clips.items():
            np.testing.assert_array_equal(found.clips[name], frames)
        for metric, series in original.scores.items():
            for name, values in series.items():
                np.testing.assert_allclose(found.scores[metric][name], values, rtol=1e-6)


def test_samples_become_clips_with_the_scores_of_each():
    frames = torch.randint(0, 256, (3, 5, 3, 12, 12), dtype=torch.uint8)
    clip = Clip("push", frames[0], torch.zeros(5, 7), n_past=2)
    psnr = np.array([[1.0, 2, 3], [7, 8, 9], [4, 5, 6]])
    sampled = Sampled(
        clip,
        {"psnr": psnr, "ssim": psnr / 10},
        *({"psnr": np.full(3, v), "ssim": np.full(3, v)} for v in (20.0, 10.0)),
        {"posterior": frames[1], "best": frames[2], "sample 2": frames[1]},
    )
    made = from_samples(sampled, {"run": "r"})
    assert list(made.clips) == ["truth", "posterior", "best", "random 1"]
    assert made.given == 2
    assert (made.clips["best"][4] == frames[2, 4].permute(1, 2, 0).numpy()).all()
    assert made.scores["psnr"]["best"][2:].tolist() == [7, 8, 9]
    assert made.scores["ssim"]["random 1"][2:].tolist() == [0.4, 0.5, 0.6]
    assert np.isnan(made.scores["psnr"]["posterior"][:2]).all()
    assert made.predicted == ["posterior", "best", "random 1"]
    assert made.baselines == [COPIED["copy_last"]]


def test_rollouts_of_an_earlier_test_go(tmp_path):
    make_results(tmp_path, rollout("0", 1), rollout("10", 1), rollout("2", 1))
    assert [found.name for found in read_rollouts(tmp_path)] == ["0", "2", "10"]
    make_results(tmp_path, rollout("2", 1))
    assert [found.name for found in read_rollouts(tmp_path)] == ["2"]


def test_output_of_the_tester_joins_its_run(tmp_path):
    run = make_run(tmp_path / "run")
    of_run = rollout("0", 1)
    of_run.about["run"] = "run"
    make_results(tmp_path / "results", of_run)
    (record,) = read_records([run, tmp_path / "results"])
    assert (record.label, [r.name for r in record.rollouts]) == ("run", ["0"])
    (alone,) = read_records([tmp_path / "results"])
    assert (alone.label, alone.log) == ("results", {})
    make_results(run / "again", rollout("0", 2))
    make_results(run / "val", rollout("val0", 2))
    both = read_records([run, tmp_path / "results"])
    assert [r.label for r in both] == ["run", "results"]
    assert [[s.name for s in r.rollouts] for r in both] == [["0", "val0"], ["0"]]


def test_labels_are_as_long_as_they_must_be(tmp_path):
    paths = [tmp_path / "x" / "run", tmp_path / "y" / "run"]
    assert labels(paths) == ["x/run", "y/run"]
    assert labels(paths[:1]) == ["run"]


# ------------------------------------------------------------------- packed clips


def unpacked(text: str, shape: tuple, tolerance: int) -> np.ndarray:
    """The reader of page.js, one number at a time."""
    steps = zlib.decompress(base64.b64decode(text))
    size = int(np.prod(shape[1:]))
    seen: list[int] = []
    for place, step in enumerate(steps):
        before = seen[place - size] if place >= size else 0
        if tolerance == 0:
            seen.append((before + step) % 256)
        else:
            signed = step - 256 if step > 127 else step
            seen.append(min(255, max(0, before + signed * (2 * tolerance + 1))))
    return np.array(seen).reshape(shape)


@pytest.mark.parametrize("tolerance", [0, 1, 2, 8])
def test_packed_clips_come_back_within_the_tolerance(tolerance):
    frames = np.random.default_rng(0).integers(0, 256, (6, 4, 5, 3)).astype(np.uint8)
    frames[1], frames[2], frames[3] = 0, 255, 0
    found = unpacked(pack(frames, tolerance), frames.shape, tolerance)
    assert np.abs(found - frames).max() <= tolerance
    if tolerance == 0:
        assert (found == frames).all()


def test_clips_are_packed_as_exactly_as_there_is_room():
    frames = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3)).astype(np.uint8)
    exact = len(pack(frames))
    assert pack_all([frames], exact) == ([pack(frames)], 0)
    texts, tolerance = pack_all([frames], exact - 1)
    assert tolerance > 0
    assert len(texts[0]) < exact


# ----------------------------------------------------------------------- the script


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


# -------------------------------------------------------------------------- studies


def test_a_grid_has_every_combination():
    made = study.grid({"kl_anneal_type": ["Cyclical", "None"], "tfr": ["0", "1"]})
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
        folder = study.Path(given["--save_root"])
        if script == "Tester.py":
            make_results(folder, rollout("0", len(called)))
            return
        make_run(folder, kl_anneal_type=given.get("--kl_anneal_type"))
        if folder.name in fails:
            raise study.UserError("Trainer.py ended with code 1")

    monkeypatch.setattr(study, "_call", call)
    monkeypatch.setattr(Reporter, "write_report", lambda paths, *_: print(read_records(paths)))
    return called, fails


def test_a_study_goes_on_where_it_was_stopped(report, scripts, tmp_path):
    called, fails = scripts
    words = ["--study", "--DR", tmp_path, "--out", tmp_path / "s", "--kl_anneal_type", "Cyclical"]
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
    assert "another study" in err


def test_a_study_passes_on_that_it_is_to_stop(tmp_path, monkeypatch):
    """Its script hears of a SIGTERM, may save, and the study ends when it has."""
    (tmp_path / "Slow.py").write_text(
        "import pathlib, signal, sys, time\n"
        "here = pathlib.Path(__file__).parent\n"
        "def stop(*_):\n    (here / 'saved').touch(); sys.exit(143)\n"
        "signal.signal(signal.SIGTERM, stop)\n"
        "(here / 'begun').touch()\n"
        "time.sleep(60)\n"
    )
    monkeypatch.setattr(study, "ROOT", tmp_path)

    def stop(*_):
        if (tmp_path / "begun").exists():
            raise SystemExit(143)

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 0.2, 0.2)
    try:
        with pytest.raises(SystemExit):
            study._call("Slow.py")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert (tmp_path / "saved").exists()


def test_without_a_grid_the_study_is_the_labs(report, scripts, tmp_path):
    called, _ = scripts
    assert report("--study", "--DR", tmp_path, "--out", tmp_path / "s")[0] == 0
    plan = json.loads((tmp_path / "s" / "study.json").read_text())
    assert len(plan["experiments"]) == 4
    assert plan["split"] == "val"
    assert called[4][called[4].index("--kl_anneal_cycle") :][:2] == ["--kl_anneal_cycle", "20"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--study"], "--DR"),
        (["run", "--study", "--DR", "."], "run"),
        (["run", "--tfr", "1"], "--study"),
        (["run", "--", "--lr", "1"], "--study"),
        (["--study", "--DR", ".", "--tfr", "2"], "at most 1"),
        (["--study", "--DR", ".", "--tfr", "1", "--", "--tfr", "0"], "--tfr"),
        (["--study", "--DR", ".", "--", "--save_root", "x"], "--save_root"),
    ],
)
def test_studies_that_make_no_sense(report, tmp_path, words, says):
    code, _, err = report("--out", tmp_path / "out", *words)
    assert code == 2
    assert says in err
    assert not (tmp_path / "out").exists()
