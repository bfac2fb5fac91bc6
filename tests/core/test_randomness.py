"""Random draws are functions of their counters, and rollouts inherit that."""

import numpy as np
import pytest
import torch

from core.device import Compute
from core.randomness import Stream, normal, numpy_generator, torch_seed
from data.types import Clip
from engine.evaluation.rollout import rollout

CPU = torch.device("cpu")
SHAPE = (2, 5)


def draw(counters, seed=0, stream=Stream.PRIOR):
    return normal(SHAPE, seed, stream, counters, CPU)


def test_a_row_depends_on_its_counter_alone():
    counters = [(step, sample) for step in range(3) for sample in range(4)]
    together = draw(counters)
    assert together.shape == (12, *SHAPE)
    assert torch.equal(draw(counters[::-1]), together.flip(0))
    torch.manual_seed(123)  # the global generator has no part in it
    for row, counter in zip(together, counters):
        assert torch.equal(draw([counter])[0], row)


def test_drawing_leaves_the_global_generator_alone():
    before = torch.random.get_rng_state()
    draw([(0, 0)])
    assert torch.equal(torch.random.get_rng_state(), before)


def test_counters_seeds_and_streams_differ():
    rows = [draw([counter])[0] for counter in [(0, 0), (0, 1), (1, 0), (1, 1), (2**31, 0)]]
    rows += [draw([(0, 0)], seed=seed)[0] for seed in (1, 2)]
    rows += [draw([(0, 0)], stream=s)[0] for s in Stream if s != Stream.PRIOR]
    rows += [draw([(1, 0)], stream=Stream.POSTERIOR)[0]]
    for i, row in enumerate(rows):
        assert all(not torch.equal(row, other) for other in rows[:i])


def test_draws_are_standard_normal():
    """Mean, variance and kurtosis of 200,000 draws, and no correlation between rows."""
    noise = normal((4000,), 5, Stream.POSTERIOR, [(0, k) for k in range(50)], CPU).double()
    flat = noise.flatten()
    assert abs(flat.mean()) < 5 / len(flat) ** 0.5
    assert flat.var() == pytest.approx(1, abs=5 * (2 / len(flat)) ** 0.5)
    assert (flat**4).mean() == pytest.approx(3, abs=5 * (96 / len(flat)) ** 0.5)
    correlation = torch.corrcoef(noise) - torch.eye(50)
    assert correlation.abs().max() < 6 / 4000**0.5


def test_generators_on_the_host_repeat_and_differ():
    def toss(*counters, seed=0, stream=Stream.WINDOWS):
        return numpy_generator(seed, stream, *counters).random(4).tolist()

    assert toss(1, 2) == toss(1, 2)
    others = [toss(2, 1), toss(1), toss(1, 2, seed=1), toss(1, 2, stream=Stream.TEACHER_FORCING)]
    assert all(toss(1, 2) != other for other in others)
    seeds = [torch_seed(0, Stream.PRIOR, k) for k in range(2000)]
    assert len(set(seeds)) == 2000
    assert all(0 <= seed < 2**63 for seed in seeds)


class DrawsItsNoise:
    """A model whose picture is its noise, squeezed into [0, 1]."""

    latent_shape = (3, 8, 8)

    def initial_state(self, first_frames):
        return None

    def encode_conditions(self, conditions):
        return conditions

    def predict(self, frame, condition, state, noise):
        return torch.sigmoid(noise), state


def test_noise_of_a_rollout_is_that_of_clip_and_frame():
    """Neither other clips nor their lengths change the noise of frame t of clip k."""
    rng = np.random.default_rng(0)
    pictures = torch.from_numpy(rng.integers(0, 256, (70, 3, 8, 8), dtype=np.uint8))
    clips = [Clip(str(n), pictures[:1], pictures[:n]) for n in (9, 70, 30)]

    def roll(chosen, seed=0, temperature=1.0):
        compute = Compute(CPU)
        return rollout(DrawsItsNoise(), chosen, compute=compute, seed=seed, temperature=temperature)

    together = roll(clips)
    for k, frames in enumerate(together):
        assert len(frames) == len(clips[k])
        for t in range(1, len(frames)):
            noise = normal((3, 8, 8), 0, Stream.PRIOR, [(k, t)], CPU)[0]
            expected = (torch.sigmoid(noise) * 255).round().to(torch.uint8)
            assert torch.equal(frames[t], expected)
    assert torch.equal(roll(clips[:1])[0], together[0])
    assert torch.equal(roll([clips[0], clips[2]])[0], together[0])
    assert torch.equal(roll([clips[0], clips[2]])[1], together[1][:30])
    assert not torch.equal(roll(clips[:1], seed=1)[0], together[0])
    assert not torch.equal(roll(clips[:1], temperature=0.5)[0], together[0])
    assert (roll(clips[:1], temperature=0.0)[0][1:] == 128).all()  # rint(255·½)
