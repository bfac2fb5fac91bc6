"""Runs over seeds as arms: their tables and figures."""

import numpy as np
import pytest
from scipy import stats

from report import arms
from report.arm_figures import arm_figures, smoothed
from report.runs import read_records
from tests.support.reporting import ROWS, make_results, make_run, rollout


@pytest.mark.parametrize("seeds", [2, 3, 5, 9])
def test_a_difference_is_a_paired_t_test(seeds):
    rng = np.random.default_rng(seeds)
    a, b = ({str(k): float(v) for k, v in enumerate(rng.normal(size=seeds))} for _ in range(2))
    mean, half, each = arms.difference(a, b | {"else": 9.0})
    reference = stats.ttest_rel(list(a.values()), list(b.values()))
    low, high = reference.confidence_interval(0.95)
    assert len(each) == seeds
    assert mean == pytest.approx((low + high) / 2)
    assert half == pytest.approx((high - low) / 2, rel=1e-3)


def test_quantiles_are_those_of_students_t():
    freedom = np.arange(1, 40)
    found = [arms.t_quantile(int(each)) for each in freedom]
    assert np.allclose(found[:10], stats.t.ppf(0.975, freedom[:10]), atol=6e-4)
    assert np.allclose(found[10:], stats.t.ppf(0.975, freedom[10:]), atol=3e-3)


def test_a_single_shared_seed_has_no_interval():
    mean, half, each = arms.difference({"1": 3.0, "2": 4.0}, {"2": 1.0})
    assert (mean, each) == (3.0, [3.0])
    assert np.isnan(half)


@pytest.fixture
def found(tmp_path):
    """Arms of two annealing types and two rates, two seeds each, with a rollout."""
    paths = []
    for kind in ("Cyclical", "None"):
        for lr in (1e-3, 1e-4):
            for seed in (1, 2):
                path = tmp_path / f"{kind}{lr}{seed}"
                make_run(path, scale=1.0 + seed, kl_anneal_type=kind, lr=lr, seed=seed)
                make_results(path / "test", rollout("0", seed))
                paths.append(path)
    return arms.arms_of(read_records(paths))


def test_arms_are_the_runs_that_differ_in_the_seed_alone(found):
    assert [arm.label for arm in found] == [
        "lr=0.001 type=Cyclical",
        "lr=0.0001 type=Cyclical",
        "lr=0.001 type=None",
        "lr=0.0001 type=None",
    ]
    assert all(list(arm.runs) == ["1", "2"] for arm in found)
    near = {(a.label, b.label) for a, b in arms.neighbors(found)}
    assert len(near) == 4, "of six pairs two differ in both settings"
    assert ("lr=0.001 type=Cyclical", "lr=0.0001 type=None") not in near


def test_runs_of_one_seed_are_not_lost(tmp_path):
    runs = [make_run(tmp_path / name, seed=1) for name in "ab"]
    (arm,) = arms.arms_of(read_records(runs))
    assert list(arm.runs) == ["1", "1 (b)"]


def test_seeds_of_an_arm_are_those_that_are_known(found, tmp_path):
    assert [arm.seeds for arm in found] == 4 * [{"1", "2"}]
    for name, settings, seeds in (
        ("of no seed", [{}, {}], [set()]),
        ("of one seed", [{"seed": 1}, {"seed": 1}], [{"1"}]),
        ("unrelated", [{"seed": 1, "lr": 1.0}, {"seed": 2, "lr": 2.0}], [{"1"}, {"2"}]),
        ("of a seed and of none", [{"seed": 1}, {}], [{"1"}]),
    ):
        runs = [make_run(tmp_path / name / str(k), **own) for k, own in enumerate(settings)]
        assert [arm.seeds for arm in arms.arms_of(read_records(runs))] == seeds, name


def test_the_table_has_the_last_epoch_beside_the_best_and_the_baselines(found):
    scores, differences, _ = arms.arms_table(found).split("### val: differences by seed")
    cells = [cell.strip() for cell in scores.splitlines()[4].split("|")[1:-1]]
    last = [row["val_psnr"] for row in ROWS if "val_psnr" in row][-1]
    assert cells == [
        *("lr=0.001 type=Cyclical", "1, 2", f"{last:.2f}", "0.00", f"{last:.2f}, {last:.2f}"),
        *(f"{last:.2f}", "0.900", f"{ROWS[-1]['mse']:.2g}", "23.25", "24.50"),
    ]
    assert "| +0.00 | 0.00 | +0.00, +0.00 | no |" in differences


def test_a_setting_is_compared_over_all_others(found):
    """Averaged within each seed, whose runs are not independent of each other."""
    for k, arm in enumerate(found):
        for seed, record in arm.runs.items():
            record.log["val_psnr"] = record.log["val_psnr"] + 2.0**k * int(seed)
    compared = arms.over_the_rest(found, "val_psnr")
    assert set(compared) == {"lr=0.001 − lr=0.0001", "type=Cyclical − type=None"}
    mean, _, each = compared["type=Cyclical − type=None"]
    assert each == [-4.5, -9.0], "of (1 − 4) and (2 − 8) from seed 1, and twice that from seed 2"
    assert mean == pytest.approx(-27 / 4)
    assert "by seed, over all other settings" in arms.arms_table(found)
    assert arms.over_the_rest(found[:2], "val_psnr") == {}, "a single surrounding: told by seed"


def test_figures_of_arms(found):
    figures = arm_figures(found)
    assert set(figures) == {"arms_scores", "arms_frames"}, "no losses of validation are logged"
    lines = [line for line in figures["arms_frames"].axes[0].lines]
    seeds = [run.rollouts[0].scores["psnr"]["prediction"] for run in found[0].runs.values()]
    mean = np.mean([smoothed(values) for values in seeds], axis=0)
    assert np.allclose(lines[0].get_ydata(), mean, equal_nan=True)
    assert lines[-1].get_label() == "copying"


def test_psnr_by_frame_is_that_of_the_set_that_judges(tmp_path):
    paths = [make_run(tmp_path / str(seed), seed=seed) for seed in (1, 2)]
    for seed, path in enumerate(paths):
        make_results(path / "test", rollout("else0", seed), rollout("val0", seed))
    found = arms.arms_of(read_records(paths))
    titles = [axis.get_title(loc="left") for axis in arm_figures(found)["arms_frames"].axes]
    assert titles == ["sequence val0"]


def test_a_sequence_of_two_lengths_is_shown_in_that_of_the_first_run(found):
    """As of runs on two data sets, which may number their sequences alike."""
    _, second = found[0].runs.values()
    second.rollouts[:] = [rollout("0", 2, frames=30)]
    figure = arm_figures(found)["arms_frames"]
    first = found[0].runs["1"].rollouts[0].scores["psnr"]["prediction"]
    shown = figure.axes[0].lines[0].get_ydata()
    assert np.allclose(shown, smoothed(first), equal_nan=True)


def test_losses_of_training_and_validation_side_by_side(found):
    for arm in found:
        for record in arm.runs.values():
            record.log["val_mse"] = record.log["mse"] * 2
    figure = arm_figures(found)["arms_losses"]
    left, right = figure.axes
    trained, validated = (axis.lines[0].get_ydata() for axis in (left, right))
    assert np.allclose(validated, 2 * trained)
    assert left.get_shared_y_axes().joined(left, right)


def test_smoothing_leaves_out_what_has_no_score():
    values = np.array([np.nan, 1.0, 2.0, 3.0])
    assert np.allclose(smoothed(values), [np.nan, 2, 2, 2], equal_nan=True)
