"""What the tests share: a tiny drawn dataset, settings of tiny widths, a cache of their own."""

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from demo.dance import draw_dataset
from engine import config

torch.set_num_threads(1)  # on tensors this small, threads mostly wait for each other

TINY_WIDTHS = {"F_dim": 8, "L_dim": 2, "N_dim": 4, "D_out_dim": 8}


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch) -> Path:
    """Give every test, and the processes it starts, an empty cache folder."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


@pytest.fixture(scope="session")
def dance_root(tmp_path_factory) -> Path:
    """A drawn dataset: 60 training frames, 14 to validate on, two test sequences of 14."""
    root = tmp_path_factory.mktemp("drawn") / "dance"
    draw_dataset(root, train_frames=60, val_frames=14, test_sequences=2, sequence_length=14)
    return root


@pytest.fixture
def settings() -> Callable[..., Namespace]:
    """`settings(flag=value, …)`: every flag of both scripts, tiny widths, fp32 on the CPU."""

    def make(**flags) -> Namespace:
        places = {"device": "cpu", "precision": "fp32", "num_workers": 1}
        return config.make_settings(config.tester_parser(), TINY_WIDTHS | places | flags)

    return make
