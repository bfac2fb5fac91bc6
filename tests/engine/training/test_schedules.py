"""Schedules by epoch, against the formulas of docs/lab.md in fractions and PyTorch's schedulers."""

from argparse import Namespace
from fractions import Fraction

import pytest
import torch
from torch.optim import lr_scheduler

from data.windows import data_fraction
from engine.training.schedule_notes import schedule_notes
from engine.training.schedules import (
    kl_beta,
    learning_rate,
    learning_rate_shape,
    teacher_forcing_ratio,
)
from settings.flags import tester_parser
from settings.resolve import make_settings
from Trainer import VAE_Model, kl_annealing

# ------------------------------------------------------------------ teacher forcing


@pytest.mark.parametrize(
    ("epoch", "ratio"), [(0, 1.0), (9, 1.0), (10, 0.9), (11, 0.8), (18, 0.1), (19, 0.0), (69, 0.0)]
)
def test_teacher_forcing_at_the_defaults(settings, epoch, ratio):
    assert teacher_forcing_ratio(settings(), epoch) == pytest.approx(ratio, abs=1e-12)


@pytest.mark.parametrize(("tfr", "sde", "step"), [(1.0, 0, 0.25), (0.7, 3, 0.2), (0.0, 5, 0.1)])
def test_teacher_forcing_by_the_formula(settings, tfr, sde, step):
    chosen = settings(tfr=tfr, tfr_sde=sde, tfr_d_step=step)
    for epoch in range(20):
        decays = max(0, epoch - sde + 1)
        expected = max(Fraction(0), Fraction(str(tfr)) - Fraction(str(step)) * decays)
        assert teacher_forcing_ratio(chosen, epoch) == pytest.approx(float(expected), abs=1e-12)


def test_the_lab_method_gives_the_ratio_of_the_epoch(settings):
    model = VAE_Model(settings(tfr_sde=2, tfr_d_step=0.5))
    found = []
    for model.trainer.run.epoch in range(4):
        found.append(model.teacher_forcing_ratio_update())
    assert found == [1.0, 1.0, 0.5, 0.0]
    assert model.tfr == 0.0


# -------------------------------------------------------------------------- KL weight


def beta_by_the_formula(epoch, epochs, cycles, ratio, start, stop):
    """β = start + (stop − start)·min(1, τ/ratio), τ = (e mod p)/p, p = epochs/cycles."""
    period = Fraction(epochs, min(cycles, epochs))
    tau = (epoch % period) / period
    return float(start + (stop - start) * min(Fraction(1), tau / ratio))


@pytest.mark.parametrize(
    ("epochs", "cycles", "ratio", "start", "stop"),
    [
        (70, 10, "1", "0", "1"),  # the lab's defaults
        (340, 20, "0.5", "0", "1"),  # the report that did best
        (340, 20, "0.8", "0.1", "1"),
        (70, 20, "0.5", "0", "1"),  # cycles that do not divide the epochs
        (11, 4, "0.75", "0.1", "0.001"),
        (5, 5, "1", "0", "1"),
        (3, 10, "0.5", "0.25", "1"),  # fewer epochs than cycles
        (1, 1, "1", "0", "1"),
    ],
)
def test_cyclical_and_monotonic_by_the_formula(settings, epochs, cycles, ratio, start, stop):
    chosen = settings(
        num_epoch=epochs,
        kl_anneal_cycle=cycles,
        kl_anneal_ratio=float(ratio),
        kl_anneal_start=float(start),
        kl_anneal_stop=float(stop),
    )
    numbers = [Fraction(text) for text in (ratio, start, stop)]
    for epoch in range(epochs):
        chosen = chosen.but(kl_anneal_type="Cyclical")
        expected = beta_by_the_formula(epoch, epochs, cycles, *numbers)
        assert kl_beta(chosen, epoch) == pytest.approx(expected, rel=1e-9, abs=1e-12)
        chosen = chosen.but(kl_anneal_type="Monotonic")
        expected = beta_by_the_formula(epoch, epochs, 1, *numbers)
        assert kl_beta(chosen, epoch) == pytest.approx(expected, rel=1e-9, abs=1e-12)
        chosen = chosen.but(kl_anneal_type="None")
        assert kl_beta(chosen, epoch) == float(stop)


def test_a_cycle_in_numbers(settings):
    """20 epochs, 2 cycles, ratio 0.5: five epochs of climbing, five at the top, twice."""
    chosen = settings(num_epoch=20, kl_anneal_cycle=2, kl_anneal_ratio=0.5)
    cycle = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.0, 1.0, 1.0, 1.0]
    assert [kl_beta(chosen, e) for e in range(20)] == pytest.approx(cycle * 2)


def test_fewer_epochs_than_cycles_stay_at_the_start(settings):
    chosen = settings(num_epoch=4, kl_anneal_cycle=10, kl_anneal_start=0.1)
    assert [kl_beta(chosen, e) for e in range(4)] == [0.1] * 4


@pytest.mark.parametrize("kind", ["Cyclical", "Monotonic", "None", "Without", None])
def test_the_lab_class_counts_epochs(kind):
    args = Namespace(
        num_epoch=12, kl_anneal_type=kind, kl_anneal_cycle=3, kl_anneal_ratio=0.5, kl_anneal_stop=2
    )
    annealing = kl_annealing(args, current_epoch=2)
    found = []
    for _ in range(10):
        found.append(annealing.get_beta())
        assert annealing.get_beta() == found[-1]  # asking does not advance
        annealing.update()
    half, two = Fraction(1, 2), Fraction(2)
    expected = {
        "Cyclical": [beta_by_the_formula(e, 12, 3, half, 0, two) for e in range(2, 12)],
        "Monotonic": [beta_by_the_formula(e, 12, 1, half, 0, two) for e in range(2, 12)],
    }
    assert found == pytest.approx(expected.get(kind, [2.0] * 10))


def test_the_lab_class_starts_at_epoch_0_with_the_lab_flags_only():
    args = Namespace(num_epoch=10, kl_anneal_type="Cyclical", kl_anneal_cycle=2, kl_anneal_ratio=1)
    annealing = kl_annealing(args)
    assert annealing.get_beta() == 0.0
    annealing.update()
    assert annealing.get_beta() == pytest.approx(0.2)


@pytest.mark.parametrize(("epochs", "period", "ratio"), [(12, 4, "1"), (13, 5, "0.5"), (4, 9, "1")])
def test_a_period_is_the_length_of_a_cycle_in_epochs(settings, epochs, period, ratio):
    """Also where it does not divide the run, and where the run ends in the first cycle."""
    chosen = settings(num_epoch=epochs, kl_anneal_period=period, kl_anneal_ratio=float(ratio))
    for epoch in range(epochs):
        tau = Fraction(epoch % period, period)
        expected = min(Fraction(1), tau / Fraction(ratio))
        assert kl_beta(chosen, epoch) == pytest.approx(float(expected), abs=1e-12)
    monotonic = chosen.but(kl_anneal_type="Monotonic")
    assert kl_beta(monotonic, epochs // 2) == kl_beta(
        monotonic.but(kl_anneal_period=None), epochs // 2
    )


def test_a_continued_run_counts_cycles_as_the_latest_command_says():
    parser, stored = tester_parser(), {"kl_anneal_period": 3, "kl_anneal_cycle": 10}
    kept = make_settings(parser, {"num_epoch": 12}, stored)
    assert kept.kl_anneal_period == 3
    counted = make_settings(parser, {"num_epoch": 12, "kl_anneal_cycle": 2}, stored)
    assert kl_beta(counted, 3) == 0.5
    given = make_settings(parser, {"num_epoch": 12, "kl_anneal_period": 4}, stored)
    assert kl_beta(given, 3) == 0.75


# -------------------------------------------------------- what is said before training


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ({"num_epoch": 4}, "--kl_anneal_cycle 2 or fewer"),
        ({"num_epoch": 10}, "--kl_anneal_cycle 5 or fewer"),
        ({"num_epoch": 9, "kl_anneal_period": 1}, "--kl_anneal_period"),
        ({"num_epoch": 1, "kl_anneal_type": "Monotonic"}, "--num_epoch"),
        ({"num_epoch": 11}, None),
        ({"num_epoch": 4, "kl_anneal_cycle": 2}, None),
        ({"num_epoch": 4, "kl_anneal_type": "None"}, None),
        ({"num_epoch": 4, "kl_anneal_type": "Monotonic"}, None),
        ({"num_epoch": 4, "kl_anneal_period": 3}, None),
        ({"num_epoch": 4, "minutes": 1.0}, None),
        ({"num_epoch": 4, "kl_anneal_start": 1.0}, None),
    ],
)
def test_a_weight_that_never_leaves_its_start_is_said(settings, flags, named):
    chosen = settings(**flags)
    betas = {kl_beta(chosen, epoch) for epoch in range(chosen.num_epoch)}
    stuck = betas == {chosen.kl_anneal_start} != {chosen.kl_anneal_stop}
    assert stuck == (named is not None) or chosen.minutes, "the case is not what it says"
    notes = schedule_notes(chosen)
    assert len(notes) == (named is not None)
    assert named is None or named in notes[0]


def test_the_number_of_cycles_that_is_named_climbs(settings):
    for epochs in range(2, 12):
        (note,) = schedule_notes(settings(num_epoch=epochs, kl_anneal_cycle=20))
        cycles = int(note.split("; --kl_anneal_cycle ")[1].split()[0])
        mended = settings(num_epoch=epochs, kl_anneal_cycle=cycles)
        assert schedule_notes(mended) == []
        assert any(kl_beta(mended, epoch) > 0 for epoch in range(epochs))


# ---------------------------------------------------------------------- learning rate


def rates_of(make_scheduler, lr, epochs):
    """The rate in each epoch as PyTorch's scheduler sets it."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    scheduler = make_scheduler(optimizer)
    rates = []
    for _ in range(epochs):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize(
    ("flags", "reference"),
    [
        ({"lr_schedule": "cosine"}, lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=25)),
        ({"lr_schedule": "multistep"}, lambda o: lr_scheduler.MultiStepLR(o, [2, 5], gamma=0.1)),
        (
            {"lr_schedule": "multistep", "lr_milestones": [1, 7, 24], "lr_gamma": 0.5},
            lambda o: lr_scheduler.MultiStepLR(o, [1, 7, 24], gamma=0.5),
        ),
        ({"lr_schedule": "step"}, lambda o: lr_scheduler.StepLR(o, 10, gamma=0.1)),
        (
            {"lr_schedule": "step", "lr_step_size": 3, "lr_gamma": 0.7},
            lambda o: lr_scheduler.StepLR(o, 3, gamma=0.7),
        ),
        (
            {"lr_schedule": "exponential", "lr_gamma": 0.9},
            lambda o: lr_scheduler.ExponentialLR(o, gamma=0.9),
        ),
        ({"lr_schedule": "constant"}, lambda o: lr_scheduler.ConstantLR(o, factor=1.0)),
    ],
    ids=["cosine", "multistep", "multistep_3", "step", "step_3", "exponential", "constant"],
)
def test_learning_rate_is_that_of_torch(settings, flags, reference):
    chosen = settings(num_epoch=25, lr=3e-3, **flags)
    expected = rates_of(reference, 3e-3, 25)
    assert [learning_rate(chosen, e) for e in range(25)] == pytest.approx(expected, rel=1e-9)


def test_learning_rate_at_the_boundaries(settings):
    cosine = settings(num_epoch=8, lr=0.5)
    assert learning_rate(cosine, 0) == 0.5
    assert learning_rate(cosine, 4) == pytest.approx(0.25)
    assert learning_rate(cosine, 7) > 0  # the last epoch still learns
    assert learning_rate(cosine, 8) == 0
    multistep = settings(lr_schedule="multistep", lr=1.0)
    found = [learning_rate(multistep, e) for e in (1, 2, 4, 5, 69)]
    assert found == pytest.approx([1.0, 0.1, 0.1, 0.01, 0.01])


def test_an_unknown_schedule_is_refused(settings):
    with pytest.raises(ValueError, match="linear"):
        learning_rate_shape(settings(lr_schedule="linear"), 0)


# --------------------------------------------------------------------------- data used


def test_fast_train_uses_a_part_in_the_first_epochs(settings):
    plain = settings(partial=0.8)
    assert [data_fraction(plain, e) for e in (0, 4, 5)] == [0.8, 0.8, 0.8]
    fast = settings(partial=0.8, fast_train=True)
    assert [data_fraction(fast, e) for e in (0, 4, 5, 69)] == [0.4, 0.4, 0.8, 0.8]
    other = settings(fast_train=True, fast_partial=0.1, fast_train_epoch=1)
    assert [data_fraction(other, e) for e in (0, 1)] == [0.1, 1.0]
    assert schedule_notes(other) == []


def test_fast_train_never_uses_more_than_partial(settings):
    chosen = settings(fast_train=True, partial=0.2)
    assert [data_fraction(chosen, e) for e in (0, 4, 5)] == [0.2] * 3
    (note,) = (note for note in schedule_notes(chosen) if "fast" in note)
    assert "--partial 0.2 is less than --fast_partial 0.4" in note
