"""What the tests of whole processes share: a run of each script's making."""

from pathlib import Path

import pytest

from tests.support.scripts import TINY, good, run


@pytest.fixture(scope="session")
def trained(dance_root, tmp_path_factory) -> Path:
    """A run folder after two epochs with a holdout."""
    folder = tmp_path_factory.mktemp("run")
    good(
        run(
            "Trainer.py",
            f"--DR {dance_root} --save_root {folder} {TINY} --num_epoch 2 --per_save 1 "
            "--holdout 40:50 --lr 0.002",
        )
    )
    return folder
