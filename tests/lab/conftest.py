"""A lab user's `args`, small enough that an epoch takes no time."""

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import pytest

from Trainer import VAE_Model

SMALL = {
    **{"F_dim": 8, "L_dim": 2, "N_dim": 4, "D_out_dim": 8, "frame_H": 16, "frame_W": 16},
    **{"batch_size": 2, "train_vi_len": 3, "partial": 0.3, "num_epoch": 2, "per_save": 1},
    **{"optim": "Adam", "lr": 0.001, "tfr": 0.5, "tfr_sde": 1, "tfr_d_step": 0.1},
    **{"kl_anneal_type": "Cyclical", "kl_anneal_cycle": 1, "kl_anneal_ratio": 1},
    **{"device": "cpu", "num_workers": 1, "gpu": 1, "precision": "fp32"},
}


@pytest.fixture
def args(dance_root, tmp_path) -> Callable[..., Namespace]:
    """`args(name=value, …)`: a Namespace; runs go into `tmp_path / "run"`."""
    places = {"DR": str(dance_root), "save_root": str(tmp_path / "run")}
    return lambda **others: Namespace(**(SMALL | places | others))


@pytest.fixture(scope="session")
def plain(dance_root, tmp_path_factory) -> Path:
    """The folder of a run without a method of one's own."""
    folder = tmp_path_factory.mktemp("plain") / "run"
    VAE_Model(
        Namespace(**(SMALL | {"DR": str(dance_root), "save_root": str(folder)}))
    ).training_stage()
    return folder
