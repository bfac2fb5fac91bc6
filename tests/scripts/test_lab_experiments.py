"""The lab's experiments: their arms are what they say, and runs that the Trainer takes."""

import pytest

from benchmarks.lab_experiments import EXPERIMENTS, amounts
from report.sweep import Sweep
from Trainer import read_settings


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_trainer_takes_every_run(name, tmp_path):
    experiment = EXPERIMENTS[name]
    arms = experiment.arms(["1", "2"])
    sweep = Sweep(arms, experiment.shared.split(), ".", experiment.split)
    seeds = []
    for run, flags in arms.items():
        settings, _ = read_settings(sweep.trainer_flags(run, tmp_path))
        seeds.append(settings.seed)
        assert str(settings.kl_anneal_type) == flags.get("kl_anneal_type", settings.kl_anneal_type)
    assert seeds.count(1) == seeds.count(2) == len(seeds) / 2


def test_amounts_are_trained_for_equal_epochs_and_for_equal_steps():
    arms = [flags for flags in amounts(["1"]).values()]
    frames = [round(23_410 * float(flags["partial"])) for flags in arms]
    assert frames == [2_890, 8_000, 23_410, 2_890, 8_000]
    epochs = [int(flags["num_epoch"]) for flags in arms]
    assert epochs[0] == epochs[1] == epochs[2]
    seen = [n * e for n, e in zip(frames[2:], epochs[2:])]
    assert max(seen) < 1.05 * min(seen), "in windows, and thereby in steps"
