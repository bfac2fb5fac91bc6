"""What the terminal shows of a training."""

import io
import sys
from argparse import Namespace
from types import SimpleNamespace

import pytest

from engine.training import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def standing(**settings) -> SimpleNamespace:
    """A run in the middle of its third epoch of four, ten steps each."""
    begun = SimpleNamespace(
        scheduled={"beta": 0.25, "tfr": 0.75, "lr": 1e-3}, frames=300, seconds=2.0
    )
    return SimpleNamespace(
        settings=Namespace(**{"num_epoch": 4, "minutes": None} | settings),
        epoch_metrics=begun,
        step=25,
        epoch=2,
        seconds=30.0,
        best={"set": "val", "psnr": 27.5, "epoch": 1},
    )


@pytest.mark.parametrize(
    ("flags", "says"), [({}, "epoch 2/3 "), ({"minutes": 2.0}, "epoch 2, 0.5/2 min")]
)
def test_the_line_says_what_matters(monkeypatch, flags, says):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    now = standing(**flags)
    with progress.progress_bar(now, SimpleNamespace(batches_in=lambda epoch: 10)) as bar:
        bar.ncols = 200
        progress.refresh(bar, now, loss=0.125)
    line = terminal.getvalue().split("\r")[-1] or terminal.getvalue().split("\r")[-2]
    for part in (says, "150 frames/s", "loss 0.125", "β 0.25", "tfr 0.75", "lr 0.001"):
        assert part in line
    assert "best 27.50 dB" in line
    assert "left" in line
    assert f"{25 if flags else 62} %" in line


def test_where_there_is_no_terminal_it_is_quiet(monkeypatch):
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    now = standing()
    with progress.progress_bar(now, SimpleNamespace(batches_in=lambda epoch: 10)) as bar:
        progress.refresh(bar, now, loss=0.125)
    assert log.getvalue() == ""
