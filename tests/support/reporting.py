"""Runs and rollouts made up for the tests of figures and pages: small, seeded, no training."""

import json
from pathlib import Path

import numpy as np

from engine.output.tracker import CsvLog
from report.rollouts import COPIED, Rollout, write_rollouts

ROWS = [
    {
        "epoch": epoch,
        "loss": 0.5 / (epoch + 1),
        "mse": 0.1 / (epoch + 1),
        "kl": 9.0 / (epoch + 1),
        "elbo": -100.0 / (epoch + 1),
        "beta": 0.1 * (epoch % 3),
        "tfr": max(0.0, 1 - 0.25 * epoch),
        "lr": 1e-3 * (1 - epoch / 6),
        "val_nearest_pose_psnr": 24.5,
    }
    | (
        {"val_psnr": 20.0 + epoch, "val_ssim": 0.9, "val_copy_first_psnr": 23.25}
        if epoch % 2
        else {}
    )
    for epoch in range(6)
]


VALIDATED = {  # what the log has since validations have losses, by epoch
    epoch: {
        "val_loss": 0.6 / epoch,
        "val_mse": 0.2 / epoch,
        "val_kl": 8.0 / epoch,
        "val_posterior_mse": 0.05 / epoch,
        "val_posterior_kl": 7.0 / epoch,
    }
    for epoch in (1, 3, 5)
}


def make_run(folder: Path, scale: float = 1.0, validated: bool = False, **settings) -> Path:
    """Write the log and the settings of a run; `scale` multiplies its losses.

    validated: with the losses of validation, which logs of earlier versions lack.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log = CsvLog(folder / "metrics.csv", 0)
    for row in ROWS:
        more = VALIDATED.get(row["epoch"], {}) if validated else {}
        log.add(row | {"loss": scale * row["loss"]} | more)
    (folder / "settings.json").write_text(json.dumps({"lr": 1e-3, "num_epoch": 6} | settings))
    return folder


def rollout(
    name: str, run_seed: int, frames: int = 40, data_seed: int = 0, height: int = 8
) -> Rollout:
    """A pose and a truth by `data_seed`, and a prediction by `run_seed` with scores."""
    data, own = np.random.default_rng(data_seed), np.random.default_rng([7, run_seed])
    pose, truth = data.integers(0, 256, (2, frames, height, 16, 3)).astype(np.uint8)
    predicted = np.clip(truth + own.integers(-20, 21, truth.shape), 0, 255).astype(np.uint8)
    predicted[0] = truth[0]
    psnr, ssim = own.uniform(20, 30, frames), own.uniform(0.5, 1, frames)
    psnr[0] = ssim[0] = np.nan
    copied = np.r_[np.nan, np.linspace(25, 15, frames - 1)]
    return Rollout(
        name,
        {"pose": pose, "truth": truth, "prediction": predicted},
        {
            "psnr": {"prediction": psnr, COPIED["copy_first"]: copied},
            "ssim": {"prediction": ssim, COPIED["copy_first"]: copied / 30},
        },
        about={"run": "unknown"},
    )


def robot(name: str, frames: int = 12) -> Rollout:
    """A truth and three samples, two given frames, as a robot test has them."""
    rng = np.random.default_rng(3)
    truth = rng.integers(0, 256, (frames, 12, 12, 3)).astype(np.uint8)
    samples = {f"sample {k}": np.roll(truth, k, axis=1) for k in range(3)}
    scores = {s: np.r_[[np.nan] * 2, rng.uniform(15, 25, frames - 2)] for s in samples}
    return Rollout(name, {"truth": truth} | samples, {"psnr": scores}, given=2)


def make_results(folder: Path, *rollouts: Rollout) -> Path:
    """Write rollouts as the Tester leaves them."""
    folder.mkdir(parents=True, exist_ok=True)
    write_rollouts(folder, rollouts)
    return folder
