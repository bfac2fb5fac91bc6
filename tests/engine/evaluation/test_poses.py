"""What the poses of a clip do, and whether errors go with it, against the plain definitions."""

import numpy as np
import pytest
import torch

from data.types import Clip
from engine.evaluation import poses as compared
from engine.evaluation.poses import chance_correlation, pose_curves, rank_correlation


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def clip_of(conditions: np.ndarray) -> Clip:
    pictures = torch.from_numpy(conditions).permute(0, 3, 1, 2)
    return Clip("a", pictures[:1], pictures)


def rms(one, other) -> float:
    return float(np.sqrt(((one.astype(np.float64) - other) ** 2).mean()))


@pytest.mark.parametrize("chunk", [3, 4096])
def test_curves_are_those_of_brute_force(rng, monkeypatch, chunk):
    monkeypatch.setattr(compared, "CHUNK", chunk)
    own, known = (rng.integers(0, 256, (n, 4, 6, 3), dtype=np.uint8) for n in (7, 10))
    known[8] = own[3]
    found = pose_curves(clip_of(own), known)
    assert np.isnan(found.change[0])
    expected = [rms(one, other) for one, other in zip(own[1:], own)]
    np.testing.assert_allclose(found.change[1:], expected, rtol=1e-5)
    distances = np.array([[rms(pose, other) for other in known] for pose in own])
    np.testing.assert_allclose(found.distance, distances.min(1), rtol=1e-5)
    np.testing.assert_array_equal(found.nearest, distances.argmin(1))
    assert found.distance[3] == 0
    alone = pose_curves(clip_of(own), None)
    np.testing.assert_array_equal(alone.change, found.change)
    assert alone.distance is None


def test_rank_correlation_is_spearmans():
    one = np.array([np.nan, 10.0, 20.0, 30.0, 40.0, 50.0])
    assert rank_correlation(one, np.exp(one)) == pytest.approx(1)
    assert rank_correlation(one, -(one**3)) == pytest.approx(-1)
    # 1 - 6·Σd²/(n(n²-1)) for ranks 2 1 3 5 4, which differ from 1 2 3 4 5 by 1 1 0 1 1
    other = np.array([7.0, 0.2, 0.1, 0.3, 0.9, 0.4])
    assert rank_correlation(one, other) == pytest.approx(1 - 6 * 4 / (5 * 24))
    # Of ties each has the mean rank: 1.5 1.5 3 4 5
    tied = np.array([0.0, 1, 1, 2, 3, 4])
    expected = np.corrcoef([1, 2, 3, 4, 5], [1.5, 1.5, 3, 4, 5])[0, 1]
    assert rank_correlation(one, tied) == pytest.approx(expected)
    assert np.isnan(rank_correlation(one, np.ones(6)))
    assert np.isnan(rank_correlation(one, np.full(6, np.nan)))


def test_chance_is_what_shifted_curves_reach(rng):
    one, other = rng.normal(size=(2, 200)).cumsum(1)
    shifts = range(20, 181)
    expected = [abs(rank_correlation(one, np.roll(other, shift))) for shift in shifts]
    assert chance_correlation(one, other) == pytest.approx(np.quantile(expected, 0.95))
    noise = rng.normal(size=(2, 200))
    assert chance_correlation(*noise) < 0.25 < chance_correlation(one, other)  # smooth: far more
    assert np.isnan(chance_correlation(one, np.ones(200)))
