"""Presets choose batch and rate by the device, where nobody has said them."""

import pytest
import torch

from engine.training.overview import settings_line
from settings.flags import trainer_parser
from settings.resolve import make_settings, overrides


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)


def of(explicit: dict, stored: dict | None = None) -> tuple[int, float]:
    settings = make_settings(trainer_parser(), explicit, stored)
    return settings.batch_size, settings.lr


QUICK, LARGE = {"preset": "quick"}, {"preset": "large"}


def test_on_a_gpu_batches_are_larger_and_the_rate_goes_with_their_root(gpu):
    assert of(QUICK) == (64, 6e-3)
    assert of(LARGE) == (64, pytest.approx(2e-3 * 2**0.5, rel=1e-3))
    assert of(QUICK | {"device": "cuda:1"}) == (64, 6e-3)


def test_on_a_cpu_they_are_those_of_the_preset(monkeypatch, gpu):
    assert of(QUICK | {"device": "cpu"}) == (16, 3e-3)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert of(QUICK) == (16, 3e-3)


@pytest.mark.parametrize(
    ("explicit", "stored", "expected"),
    [
        ({"batch_size": 8}, {}, (8, 3e-3)),  # the rate of the preset goes with any that is said
        ({"lr": 1e-3}, {}, (64, 1e-3)),
        ({}, {"preset": "quick", "batch_size": 16, "lr": 3e-3}, (16, 3e-3)),
        ({"preset": "lab"}, {}, (2, 1e-4)),
        ({"preset": "quick", "model": "svg"}, {}, (12, 2e-3)),
    ],
)
def test_flags_checkpoints_and_other_presets_are_left_as_they_are(gpu, explicit, stored, expected):
    assert of((QUICK if not stored else {}) | explicit, stored) == expected


def test_the_block_at_the_start_says_so_in_a_line(gpu):
    told = "on a GPU 64 windows a step instead of 16, and so --lr 0.006 instead of 0.003"
    settings = make_settings(trainer_parser(), QUICK)
    assert told in settings_line(settings)
    assert overrides(settings) == {}
    for other in ({"device": "cpu"}, {"batch_size": 16}):
        assert "GPU" not in settings_line(make_settings(trainer_parser(), QUICK | other))
