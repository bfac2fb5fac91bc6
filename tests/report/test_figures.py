"""The figures show the values that were logged."""

from dataclasses import replace

import numpy as np
import pytest

from report import rollout_figures as shown
from report.rollouts import COPIED, POSE
from report.runs import read_records
from report.style import to_svg
from report.training_figures import training_figures
from tests.support.reporting import ROWS, VALIDATED, make_run


def lines_of(axis) -> dict[str, tuple]:
    return {line.get_label(): line.get_data() for line in axis.lines}


def test_the_lines_of_the_losses_are_the_logged_values(two):
    figures = training_figures(read_records(two))
    total, mse, kl, elbo = figures["losses"].axes
    epochs = np.arange(6)
    for axis, column, sign in ((mse, "mse", 1), (kl, "kl", 1), (elbo, "elbo", -1)):
        x, y = lines_of(axis)["one"]
        np.testing.assert_array_equal(x, epochs)
        np.testing.assert_allclose(y, [sign * row[column] for row in ROWS])
    np.testing.assert_allclose(lines_of(total)["other"][1], [3 * row["loss"] for row in ROWS])
    assert mse.get_yscale() == "log"
    for axis, column in zip(figures["schedules"].axes, ("beta", "tfr", "lr")):
        np.testing.assert_allclose(lines_of(axis)["one"][1], [row[column] for row in ROWS])


def line_at(axis, epochs, values) -> bool:
    """Tell whether one of the lines of an axis goes through these points and no others."""
    return any(
        np.array_equal(line.get_xdata(), epochs) and np.allclose(line.get_ydata(), values)
        for line in axis.lines
        if len(line.get_xdata()) == len(epochs)
    )


def test_losses_of_validation_stand_beside_those_of_training(tmp_path):
    runs = [make_run(tmp_path / "new", validated=True), make_run(tmp_path / "old", scale=2.0)]
    total, mse, kl, elbo = training_figures(read_records(runs))["losses"].axes
    epochs = list(VALIDATED)
    for axis, loss in ((total, "loss"), (mse, "mse"), (kl, "kl")):
        assert set(lines_of(axis)) >= {"new", "old"}
        assert line_at(axis, epochs, [row[f"val_{loss}"] for row in VALIDATED.values()])
    for axis, loss in ((mse, "mse"), (kl, "kl")):
        assert line_at(axis, epochs, [row[f"val_posterior_{loss}"] for row in VALIDATED.values()])
    assert len(elbo.lines) == 2
    assert {"validation", "posterior (oracle)"} <= set(lines_of(total))
    old = training_figures(read_records(runs[1:]))["losses"].axes[0]
    assert "validation" not in lines_of(old)


def test_a_run_has_one_figure_of_its_epochs(tmp_path, two):
    record = make_run(tmp_path / "a b", validated=True)
    figure = training_figures(read_records([record]))["run"]
    loss, kl, beta, tfr, psnr = figure.axes
    epochs = list(VALIDATED)
    for axis, name in ((loss, "loss"), (kl, "kl")):
        found = lines_of(axis)
        np.testing.assert_allclose(found["training"], ([*range(6)], [row[name] for row in ROWS]))
        expected = [row[f"val_{name}"] for row in VALIDATED.values()]
        np.testing.assert_allclose(found["validation"], (epochs, expected))
    for axis, name in ((beta, "beta"), (tfr, "tfr")):
        assert line_at(axis, range(6), [row[name] for row in ROWS])
    np.testing.assert_array_equal(lines_of(psnr)["PSNR on val"], ([1, 3, 5], [21, 23, 25]))
    several = training_figures(read_records([record, *two]))
    assert [name for name in several if name.startswith("run")] == [
        *("run_a_b", "run_one", "run_other")
    ]


def test_teacher_forcing_and_loss_share_a_panel(two):
    left, right = training_figures(read_records(two))["teacher_forcing"].axes
    np.testing.assert_allclose(lines_of(left)["one"][1], [row["loss"] for row in ROWS])
    np.testing.assert_allclose(lines_of(right)["one"][1], [row["tfr"] for row in ROWS])
    assert "ratio" in right.get_ylabel()


def test_annealing_types_have_a_column_each(two, tmp_path):
    figure = training_figures(read_records(two))["annealing"]
    assert [axis.get_title(loc="left") for axis in figure.axes[:2]] == [
        "annealing: Cyclical",
        "annealing: None",
    ]
    assert list(lines_of(figure.axes[0])) == ["one"]
    assert list(lines_of(figure.axes[1])) == ["other"]
    assert "annealing" not in training_figures(read_records(two[:1]))


def test_validation_is_shown_where_it_was_done_with_its_baselines(two):
    psnr, _ = training_figures(read_records(two[:1]))["validation"].axes
    lines = lines_of(psnr)
    np.testing.assert_array_equal(lines["one"], ([1, 3, 5], [21, 23, 25]))
    assert list(lines[COPIED["copy_first"]][1]) == [23.25, 23.25]
    assert list(lines["nearest pose"][1]) == [24.5, 24.5]
    assert psnr.get_ylabel() == "PSNR (dB)"


def test_ticks_are_the_values_and_not_what_they_have_beyond_one_of_them(two):
    records = read_records(two[:1])
    log = records[0].log
    log["val_ssim"] += 0.08543 + 1e-5 * log["epoch"]  # NaN stays NaN
    figure = training_figures(records)["validation"]
    figure.draw_without_rendering()
    ticks = [float(label.get_text()) for label in figure.axes[1].get_yticklabels()]
    assert all(0.9853 < tick < 0.9856 for tick in ticks)


def test_scores_by_frame_are_shown_and_the_weak_spot_is_found(two):
    records = read_records(two)
    figure = shown.rollout_figures({r.label: r.rollouts for r in records})["scores"]
    psnr, ssim, *_ = figure.axes
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


def test_what_the_poses_do_stands_under_the_scores(two):
    (record,) = read_records(two[:1])
    first, second = record.rollouts
    change, distance = np.linspace(0, 9, 40), np.linspace(9, 0, 40) ** 2
    change[0] = np.nan
    posed = replace(first, pose={"change": change, "distance": distance})
    figure = shown.rollout_figures({"one": [posed, second]})["scores"]
    assert len(figure.axes) == 6  # PSNR and SSIM twice, and once the pose under both
    for axis in figure.axes[2:4]:
        np.testing.assert_array_equal(lines_of(axis)[POSE["change"]][1], change)
        np.testing.assert_array_equal(lines_of(axis)[POSE["distance"]][1], distance)
    found = posed.correlations("prediction")
    assert f"change {found['change'][0]:.2f}" in figure.axes[2].get_title(loc="right")
    assert found["change"][0] == pytest.approx(-found["distance"][0], abs=0.05)


def test_the_drift_curve_is_the_mean_by_hundreds():
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
        *("pose", "truth", "prediction", "prediction, error")
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
