"""The lab's experiments: their arms are what they say, and runs that the Trainer takes."""

import numpy as np
import pandas as pd
import pytest
import torch

import Trainer
from benchmarks.lab_experiments import EXPERIMENTS, amounts, latents, samples
from engine.output.tracker import CsvLog, read_log
from report.sweep import Sweep
from tests.support.reporting import make_run


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_trainer_takes_every_run(name, tmp_path):
    experiment = EXPERIMENTS[name]
    arms = experiment.arms(["1", "2"])
    sweep = Sweep(arms, experiment.shared.split(), ".", experiment.split)
    seeds = []
    for run, flags in arms.items():
        settings, _ = Trainer.read_settings(sweep.trainer_flags(run, tmp_path))
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


def test_rollouts_with_z_of_prior_and_posterior_stand_beside_the_kl(settings, dance_root, tmp_path):
    runs = []
    for stop in (1.0, 1e-6):
        run = make_run(tmp_path / f"{stop}", kl_anneal_stop=stop)
        made = settings(DR=str(dance_root), save_root=str(run), kl_anneal_stop=stop)
        model = Trainer.VAE_Model(made)
        with torch.no_grad():
            model.Gaussian_Predictor[-1].bias[: made.N_dim] = 20.0  # its mean, far from the prior
        model.save(run / "last.ckpt")
        rows = read_log(run / "metrics.csv")
        log = CsvLog(run / "metrics.csv", 0)
        for row in rows:
            log.add(row | {"val_posterior_kl": 2.5})
        runs.append(run)
    text, figures = latents(runs, str(dance_root))
    lines = text.splitlines()
    assert lines[0].count("|") == lines[2].count("|") == 6
    assert lines[2].startswith("| β = 1 |")
    assert lines[3].startswith("| β = 1e-06 |")
    assert lines[2].endswith("| 2.5 |")
    prior, mean, posterior = (cell.strip() for cell in lines[2].split("|")[2:5])
    assert all(0 < float(value) < 60 for value in (prior, mean, posterior))
    assert posterior not in (prior, mean)
    assert set(figures) == {"latent"}


def test_the_robots_types_are_compared_by_sequence_and_by_seed(tmp_path):
    paths, rng = [], np.random.default_rng(0)
    for kind, gain in (("Cyclical", 1.0), ("Monotonic", 0.0)):
        for seed in (1, 2, 3):
            run = make_run(tmp_path / f"{kind}{seed}", kl_anneal_type=kind, seed=seed)
            base = np.random.default_rng(seed).uniform(20, 30, 8)
            columns = {k: base + gain + 0.1 * seed * gain for k in ("best", "mean", "posterior")}
            table = pd.DataFrame({f"{k}_psnr": v for k, v in columns.items()})
            table["copy_last_psnr"] = rng.uniform(10, 12, 8)
            (run / "test").mkdir()
            table.rename_axis("sequence").to_csv(run / "test/sequences.csv")
            paths.append(run)
    text, figures = samples(paths, ".")
    last = text.splitlines()[-1].split("|")
    assert [cell.strip() for cell in last[2:4]] == ["+1.20", "0.00"], "alike in all sequences"
    assert float(last[4]) == pytest.approx(4.303 * 0.1 / 3**0.5, abs=0.01)
    assert last[5].strip() == "+1.10, +1.20, +1.30"
    assert set(figures) == {"samples"}
