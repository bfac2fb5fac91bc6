"""The robot model against its slow reference, and what its states, skips and modes must do."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from core.device import Compute
from core.randomness import Stream, normal
from data.types import Clip
from engine.evaluation.rollout import rollout, to_uint8
from modules.gaussian import kl_between, kl_criterion
from modules.svg import SVG, SVGConfig
from modules.vgg import doubled_conv
from tests.support import robot_reference as reference
from tests.support.models import loss_of

CPU = torch.device("cpu")
TINY = {"g_dim": 6, "z_dim": 3, "rnn_size": 8, "vgg_width": 2}


def tiny(**config) -> SVG:
    """Return a small model, in evaluation mode, whose every part matters to what it predicts."""
    torch.manual_seed(0)
    model = SVG(SVGConfig(**TINY | config))
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.momentum = 0.5  # so that one step brings the statistics near
            elif isinstance(module, torch.nn.Linear | torch.nn.LSTM):
                for weight in module.parameters():
                    weight.mul_(3)
        loss_of(model.train(), **window_inputs(), teacher_forcing=[False] * 5)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 0.1
            module.num_batches_tracked.zero_()
    return model.eval()


def window_inputs(B: int = 2, T: int = 6, K: int = 7) -> dict:
    torch.manual_seed(1)
    return {
        "frames": torch.rand(B, T, 3, 64, 64),
        "conditions": torch.randn(B, T, K),
        "noise": torch.randn(B, T - 1, TINY["z_dim"]),
        "kl_beta": 0.1,
    }


def clip_of(T: int = 6, n_past: int = 2, seed: int = 0) -> Clip:
    generator = torch.Generator().manual_seed(seed)
    frames = torch.randint(0, 256, (T, 3, 64, 64), generator=generator).byte()
    return Clip(str(seed), frames, torch.randn(T, 7, generator=generator), n_past)


# ---------------------------------------------------------------------- shapes


def test_the_default_model_is_that_of_the_lab():
    model = SVG(SVGConfig())
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(22.2e6, rel=5e-3)
    with torch.no_grad():
        vector, skips = model.encoder(torch.rand(2, 3, 64, 64))
        predicted = model.decoder(vector, model.decoder.skip_terms(skips))
    assert vector.shape == (2, 128)
    assert vector.abs().max() < 1
    sizes = [(2, 64, 64, 64), (2, 128, 32, 32), (2, 256, 16, 16), (2, 512, 8, 8)]
    assert [tuple(s.shape) for s in skips] == sizes
    assert predicted.shape == (2, 3, 64, 64)
    assert predicted.min() > 0
    assert predicted.max() < 1
    convolutions = [m for m in model.encoder.modules() if isinstance(m, torch.nn.Conv2d)]
    widths = [64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 128]
    assert [c.out_channels for c in convolutions] == widths
    assert model.predictor.embed.in_features == 128 + 64 + 7
    assert model.predictor.lstm.num_layers == 2
    assert model.posterior.lstm.num_layers == 1


def test_doubling_folded_into_the_kernel_is_the_same_convolution():
    x, kernel = torch.randn(2, 5, 8, 8), torch.randn(4, 5, 3, 3)
    with FlopCounterMode(display=False) as plain:
        expected = doubled_conv(x, kernel, folded=False)
    with FlopCounterMode(display=False) as folded:
        found = doubled_conv(x, kernel, folded=True)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert folded.get_total_flops() * 9 == plain.get_total_flops() * 4


def test_kl_between_gaussians_is_that_of_torch_and_of_the_fixed_prior():
    mu, logvar, m, v = torch.randn(4, 5, 3)
    expected = torch.distributions.kl_divergence(
        torch.distributions.Normal(mu, torch.exp(logvar / 2)),
        torch.distributions.Normal(m, torch.exp(v / 2)),
    ).sum()
    torch.testing.assert_close(kl_between(mu, logvar, m, v), expected)
    zero = torch.zeros_like(mu)
    torch.testing.assert_close(kl_between(mu, logvar, zero, zero), kl_criterion(mu, logvar, 1))


# -------------------------------------------------------------------- training


@pytest.mark.parametrize("prior", ["fixed", "learned"])
@pytest.mark.parametrize("last_frame_skip", [False, True])
@pytest.mark.parametrize("bptt", [0, 1, 9])
@pytest.mark.parametrize("forced", [[True] * 5, [False] * 5, [True, False, False, True, False]])
def test_loss_and_gradients_are_those_of_the_reference(prior, last_frame_skip, bptt, forced):
    model = tiny(prior=prior, last_frame_skip=last_frame_skip)
    found = []
    for loss in (loss_of, reference.training_loss):
        model.zero_grad()
        value, metrics, predictions = loss(
            model, **window_inputs(), teacher_forcing=forced, bptt=bptt
        )
        value.backward()
        gradient = torch.cat([p.grad.flatten() for p in model.parameters()])
        found.append((value.detach(), metrics["mse"], metrics["kl"], predictions, gradient))
    for ours, theirs in zip(*found):
        tolerance = 1e-4 * theirs.detach().abs().max().item()
        torch.testing.assert_close(ours, theirs.detach(), rtol=0, atol=tolerance)


def test_gradients_pass_through_as_many_predictions_as_asked():
    model = tiny(last_frame_skip=True)  # so that predictions enter by their skips too
    gradients = []
    for bptt in (0, 9):
        model.zero_grad()
        loss_of(model, **window_inputs(), teacher_forcing=[False] * 5, bptt=bptt)[0].backward()
        gradients.append(model.decoder.tail.weight.grad.clone())
    assert not torch.allclose(*gradients, rtol=1e-3, atol=0)


def test_batch_norm_takes_its_statistics_over_all_frames_of_a_step():
    model = tiny().train()
    first = model.encoder.stages[0][0]
    frames = window_inputs()["frames"]
    before = first[1].running_mean.clone()
    with torch.no_grad():
        mean = first[0](frames.flatten(0, 1)).mean(dim=(0, 2, 3))
        loss_of(model, **window_inputs(), teacher_forcing=[True] * 5)
    torch.testing.assert_close(first[1].running_mean, 0.9 * before + 0.1 * mean)
    assert first[1].num_batches_tracked == 1


def test_without_a_condition_it_changes_nothing_and_has_no_weights():
    model = tiny(action_free=True)
    inputs = window_inputs()
    losses = []
    for scale in (1, 0):
        given = inputs | {"conditions": scale * inputs["conditions"]}
        losses.append(loss_of(model, **given, teacher_forcing=[True] * 5)[0])
    assert losses[0] == losses[1]
    assert model.predictor.embed.in_features == TINY["g_dim"] + TINY["z_dim"]


def test_predictions_buffered_elsewhere_are_refused():
    with pytest.raises(ValueError, match="LSTM"):
        loss_of(tiny(), **window_inputs(), teacher_forcing=[True] * 5, previous=torch.zeros(1))


def test_bf16_is_within_its_rounding():
    found = []
    for compute in (Compute(CPU), Compute(CPU, bf16=True)):
        model = compute.prepare(tiny())
        with compute.autocast():
            loss, metrics, _ = loss_of(model, **window_inputs(), teacher_forcing=[False] * 5)
        assert all(value.dtype == torch.float32 for value in metrics.values())
        found.append(loss)
    torch.testing.assert_close(found[1], found[0], rtol=0.02, atol=0)


# ------------------------------------------------------------------ prediction


def noise_of(seed: int, draw: tuple[int, ...], T: int) -> torch.Tensor:
    """Return the noise (T, Z) of a rollout of one clip."""
    return normal((TINY["z_dim"],), seed, Stream.PRIOR, [(*draw, t) for t in range(T)], CPU)


@pytest.mark.parametrize("prior", ["fixed", "learned"])
@pytest.mark.parametrize("last_frame_skip", [False, True])
@pytest.mark.parametrize("posterior", [False, True])
@pytest.mark.parametrize("n_past", [1, 2, 3])
def test_a_rollout_is_that_of_the_reference(prior, last_frame_skip, posterior, n_past):
    model = tiny(prior=prior, last_frame_skip=last_frame_skip, n_past=n_past)
    clip = clip_of(n_past=n_past)
    (found,) = rollout(model, [clip], compute=Compute(CPU), seed=3, posterior=posterior)
    frames = clip.frames.float() / 255
    noise = noise_of(3, (0,), len(clip))
    expected = reference.rollout(
        model, frames[:n_past], clip.conditions, noise, frames if posterior else None
    )
    torch.testing.assert_close(found.int(), to_uint8(expected).int(), rtol=0, atol=1)
    assert torch.equal(found[:n_past], clip.frames[:n_past])


def test_batched_samples_are_the_single_ones():
    model, clips = tiny(), [clip_of(seed=0), clip_of(seed=1)]
    draws = [(k, sample) for k in range(2) for sample in range(3)]
    repeated = [clips[k] for k, _ in draws]
    together = rollout(model, repeated, compute=Compute(CPU), draws=draws)
    for (k, sample), found in zip(draws, together):
        (alone,) = rollout(model, [clips[k]], compute=Compute(CPU), draws=[(k, sample)])
        torch.testing.assert_close(found.int(), alone.int(), rtol=0, atol=1)
    assert not torch.equal(together[0], together[1])


def test_prior_mode_never_sees_the_truth_and_posterior_mode_does():
    model, clip = tiny(), clip_of()
    changed = clip.frames.clone()
    changed[3:] = 255 - changed[3:]
    other = Clip("0", changed, clip.conditions, clip.n_past)
    known_alone = Clip("0", clip.frames[:2], clip.conditions, clip.n_past)
    compute = Compute(CPU)
    (expected,) = rollout(model, [clip], compute=compute)
    for unseen in (other, known_alone):
        assert torch.equal(rollout(model, [unseen], compute=compute)[0], expected)
    sees = [rollout(model, [c], compute=compute, posterior=True)[0] for c in (clip, other)]
    assert torch.equal(sees[0][2], sees[1][2])  # frame 2 is the same in both
    assert not torch.equal(sees[0][3], sees[1][3])


def test_the_condition_changes_the_prediction():
    model, clip = tiny(), clip_of()
    conditions = clip.conditions.clone()
    conditions[4] += 1
    other = Clip("0", clip.frames, conditions, clip.n_past)
    a, b = (rollout(model, [c], compute=Compute(CPU))[0] for c in (clip, other))
    assert torch.equal(a[:4], b[:4])
    assert not torch.equal(a[4], b[4])


def test_skips_are_those_of_the_last_context_frame():
    """With its head at zero the encoder's vector is blank: frames enter by their skips alone."""
    model = tiny()
    with torch.no_grad():
        for value in model.encoder.head[0].parameters():
            value.zero_()
    clip = clip_of(n_past=2)
    (expected,) = rollout(model, [clip], compute=Compute(CPU))
    for frame, matters in ((0, False), (1, True)):
        frames = clip.frames.clone()
        frames[frame] = 255 - frames[frame]
        other = Clip("0", frames, clip.conditions, clip.n_past)
        (found,) = rollout(model, [other], compute=Compute(CPU))
        assert torch.equal(found[2:], expected[2:]) is not matters


def test_lstm_state_matters_and_does_not_leak():
    model, clip = tiny(), clip_of()
    compute = Compute(CPU)
    (first,) = rollout(model, [clip], compute=compute)
    rollout(model, [clip_of(seed=5)], compute=compute)  # leaves nothing behind
    (again,) = rollout(model, [clip], compute=compute)
    assert torch.equal(first, again)

    frame, noise = clip.frames[:1].float() / 255, torch.randn(1, TINY["z_dim"])
    with torch.no_grad():
        fresh = model.initial_state(frame)
        predicted, advanced = model.predict(frame, clip.conditions[1:2], fresh, noise)
        repeated, _ = model.predict(frame, clip.conditions[1:2], fresh, noise)
        later, _ = model.predict(frame, clip.conditions[1:2], advanced, noise)
    assert torch.equal(predicted, repeated)
    assert (later - predicted).abs().max() > 1e-4


@pytest.mark.parametrize("prior", ["fixed", "learned"])
def test_the_mean_of_the_prior_takes_no_noise(prior):
    model, clip = tiny(prior=prior), clip_of(n_past=1)
    a, b = (rollout(model, [clip], compute=Compute(CPU), z="mean", seed=s)[0] for s in (0, 1))
    assert torch.equal(a, b)
    (sampled,) = rollout(model, [clip], compute=Compute(CPU))
    assert not torch.equal(a, sampled)
