"""Rollouts against the slow loop, and what may reach a prediction."""

import numpy as np
import pytest
import torch

import engine.evaluation.rollout
from core.device import Compute
from core.randomness import Stream, normal
from data.types import Clip
from engine.evaluation.rollout import rollout, to_uint8
from tests.support import reference
from tests.support.graphs import stand_in
from tests.support.vae import make_clips, make_model

CPU = Compute(torch.device("cpu"))


def slow_rollout(model, clip, number, seed=0, scale=1.0):
    counters = [(number, t) for t in range(len(clip))]
    noise = scale * normal(model.latent_shape, seed, Stream.PRIOR, counters, CPU.device)
    poses = clip.conditions.float() / 255
    return to_uint8(reference.rollout(model, clip.frames[0].float() / 255, poses, noise))


def assert_same_pictures(found, expected):
    """Equal but for the rounding of a value that lies on the border of two levels."""
    assert found.dtype == expected.dtype == torch.uint8
    assert found.shape == expected.shape
    difference = (found.int() - expected.int()).abs()
    assert difference.max() <= 1
    assert (difference > 0).float().mean() < 0.01


def test_pictures_of_the_tests_are_not_all_alike():
    """Guards the comparisons below: frames, clips and latents make visible differences."""
    model, clips = make_model().eval(), make_clips([4, 4])
    first, second = (slow_rollout(model, clip, number).float() for number, clip in enumerate(clips))
    zero = slow_rollout(model, clips[0], 0, scale=0.0).float()
    for one, other in [(first[1], first[2]), (first[2], second[2]), (first[2], zero[2])]:
        assert (one - other).abs().mean() > 2


@pytest.mark.parametrize("lengths", [[2], [3, 3], [5, 2, 9]])
def test_rollout_is_that_of_the_slow_loop(lengths):
    model, clips = make_model().eval(), make_clips(lengths)
    found = rollout(model, clips, compute=CPU, seed=4)
    for number, clip in enumerate(clips):
        assert torch.equal(found[number][0], clip.frames[0])
        assert_same_pictures(found[number], slow_rollout(model, clip, number, seed=4))


@pytest.mark.parametrize("length", [63, 64, 65, 66])
def test_rollout_around_the_chunk_of_conditions(length):
    assert engine.evaluation.rollout.CONDITION_CHUNK == 64
    model, clips = make_model().eval(), make_clips([length])
    (found,) = rollout(model, clips, compute=CPU)
    assert_same_pictures(found, slow_rollout(model, clips[0], 0))


@pytest.mark.parametrize("chunk", [1, 2, 3, 7])
def test_the_chunk_does_not_matter(monkeypatch, chunk):
    model, clips = make_model().eval(), make_clips([8, 5])
    expected = rollout(model, clips, compute=CPU)
    monkeypatch.setattr(engine.evaluation.rollout, "CONDITION_CHUNK", chunk)
    for found, plain in zip(rollout(model, clips, compute=CPU), expected):
        assert_same_pictures(found, plain)


def test_true_frames_have_no_way_into_a_rollout():
    model, clips = make_model().eval(), make_clips([6, 4])
    expected = rollout(model, clips, compute=CPU)
    changed = [
        Clip(c.name, torch.cat([c.frames[:1], 255 - c.frames[1:]]), c.conditions) for c in clips
    ]
    given_only = [Clip(c.name, c.frames[:1], c.conditions) for c in clips]
    for variant in (changed, given_only):
        for found, plain in zip(rollout(model, variant, compute=CPU), expected):
            assert torch.equal(found, plain)


def test_frame_0_and_every_pose_but_the_first_reach_the_last_frame_or_their_own():
    model, (clip,) = make_model().eval(), make_clips([5])
    (plain,) = rollout(model, [clip], compute=CPU)
    other = Clip("other", 255 - clip.frames, clip.conditions)
    assert not torch.equal(rollout(model, [other], compute=CPU)[0][1], plain[1])
    for t in range(5):
        poses = clip.conditions.clone()
        poses[t] = 255 - poses[t]
        (found,) = rollout(model, [Clip("other", clip.frames, poses)], compute=CPU)
        assert torch.equal(found[:t], plain[:t])  # nothing looks ahead
        assert torch.equal(found, plain) == (t == 0)


def test_batched_clips_are_single_clips():
    model, clips = make_model().eval(), make_clips([7, 3, 5])
    together = rollout(model, clips, compute=CPU, z="mean")
    for clip, found in zip(clips, together):
        assert_same_pictures(found, rollout(model, [clip], compute=CPU, z="mean")[0])


def test_the_mean_latent_is_temperature_0():
    model, clips = make_model().eval(), make_clips([5, 4])
    mean = rollout(model, clips, compute=CPU, z="mean")
    cold = rollout(model, clips, compute=CPU, z="sample", temperature=0.0)
    for number, (found, other) in enumerate(zip(mean, cold)):
        assert torch.equal(found, other)
        assert_same_pictures(found, slow_rollout(model, clips[number], number, scale=0.0))
    warm = rollout(model, clips, compute=CPU, temperature=0.5)[1]
    assert_same_pictures(warm, slow_rollout(model, clips[1], 1, scale=0.5))


def test_a_rollout_keeps_the_mode_of_the_model():
    model, clips = make_model(), make_clips([3])
    for mode in (True, False):
        model.train(mode)
        rollout(model, clips, compute=CPU)
        assert model.training == mode


def test_quantization_rounds_to_even_and_saturates():
    values = torch.tensor([-0.2, 0.0, 0.5 / 255, 1.5 / 255, 0.5, 1.0, 1.7], dtype=torch.float64)
    expected = np.rint(255 * values.clamp(0, 1).numpy()).astype(np.uint8)
    assert to_uint8(values).tolist() == expected.tolist()


@pytest.mark.parametrize(("predicted", "graphs"), [(31, 0), (32, 1), (70, 1)])
def test_long_rollouts_are_captured_and_are_those_that_are_not(monkeypatch, predicted, graphs):
    """With the work itself in the graph's place: its memory is fixed, its inputs are copied."""
    model, clips = make_model().eval(), make_clips([predicted + 1, 4])
    eager = rollout(model, clips, compute=CPU, seed=4)
    recorded = stand_in(monkeypatch)
    captured = rollout(model, clips, compute=CPU, seed=4)
    assert all(map(torch.equal, captured, eager))
    assert [graph.replays for graph in recorded] == [predicted] * graphs


@pytest.mark.parametrize("captured", [False, True])
def test_what_is_not_finite_begins_anew_from_the_frame_given(monkeypatch, capsys, captured):
    """At frame 3 of the first clip; the second goes on as if nothing had happened."""
    model, clips = make_model().eval(), make_clips([40, 40])
    undisturbed = rollout(model, clips, compute=CPU, z="mean")
    first = clips[0]
    again = Clip("again", first.frames[:1], first.conditions[3:])
    (anew,) = rollout(model, [again], compute=CPU, z="mean")
    assert capsys.readouterr().err == ""

    encode = model.encode_conditions

    def overflowing(poses):
        features = encode(poses)
        features[0, 2] = torch.inf
        return features

    monkeypatch.setattr(model, "encode_conditions", overflowing)
    recorded = stand_in(monkeypatch) if captured else []
    found = rollout(model, clips, compute=CPU, z="mean")
    assert len(recorded) == captured
    assert torch.equal(found[0][:3], undisturbed[0][:3])
    assert_same_pictures(found[0][3:], anew)
    assert_same_pictures(found[1], undisturbed[1])
    assert f"1 prediction of sequence {first.name} not finite" in capsys.readouterr().err
