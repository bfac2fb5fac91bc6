"""The CVAE's training loss against its slow reference, and where its gradients pass."""

import math
from contextlib import contextmanager

import pytest
import torch

from tests.support import reference
from tests.support.models import loss_of
from tests.support.vae import make_batch, make_model


@contextmanager
def outputs_of(model):
    """Collect the predictions (B, 3, H, W) of every step, with their graph."""
    predicted = []
    hook = model.Generator.register_forward_hook(lambda *call: predicted.append(call[2]))
    try:
        yield predicted
    finally:
        hook.remove()


def predictions(model, frames, poses, forcing, noise):
    """The Generator's outputs of a training loss: (T − 1, B, 3, H, W)."""
    with outputs_of(model) as predicted, torch.no_grad():
        loss_of(model, frames, poses, teacher_forcing=forcing, kl_beta=0.0, noise=noise)
    return torch.cat(predicted).unflatten(0, (len(forcing), -1))


# ---------------------------------------------------------------------- training loss

FORCINGS = {
    "forced": lambda steps: [True] * steps,
    "free": lambda steps: [False] * steps,
    "mixed": lambda steps: [k % 3 == 1 for k in range(steps)],
}


@pytest.mark.parametrize("forcing", FORCINGS)
@pytest.mark.parametrize(("B", "T"), [(1, 2), (3, 3), (2, 5), (5, 4)])
@pytest.mark.parametrize("bptt", [0, 1, 2])
def test_loss_and_gradients_are_those_of_the_slow_loop(forcing, B, T, bptt):
    model, (frames, poses, noise) = make_model(), make_batch(B, T)
    arguments = {
        "teacher_forcing": FORCINGS[forcing](T - 1),
        "kl_beta": 0.01,
        "noise": noise,
        "bptt": bptt,
    }
    loss, metrics, _ = loss_of(model, frames, poses, **arguments)
    expected_loss, expected = reference.training_loss(model, frames, poses, **arguments)
    assert loss.item() == pytest.approx(expected_loss.item(), rel=1e-5)
    assert metrics["loss"].item() == loss.item()
    for name in ("mse", "kl"):
        assert metrics[name].item() == pytest.approx(expected[name].item(), rel=1e-5)

    found = torch.autograd.grad(loss, tuple(model.parameters()))
    expected = torch.autograd.grad(expected_loss, tuple(model.parameters()))
    largest = max(gradient.abs().max() for gradient in expected)
    for (name, _), ours, theirs in zip(model.named_parameters(), found, expected):
        assert (ours - theirs).abs().max() <= 1e-4 * largest, name
        small = 1e-3 * theirs.abs().max() + 1e-6 * largest
        assert (ours - theirs).abs().max() <= small, name


@pytest.mark.parametrize("output_activation", ["clamp", "none"])
def test_loss_with_other_output_activations(output_activation):
    model, (frames, poses, noise) = make_model(0, output_activation), make_batch(2, 3)
    arguments = {"teacher_forcing": [True, False], "kl_beta": 0.01, "noise": noise}
    loss, *_ = loss_of(model, frames, poses, **arguments)
    expected, _ = reference.training_loss(model, frames, poses, **arguments)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_loss_moves_the_running_statistics_as_the_slow_loop_does():
    frames, poses, noise = make_batch(3, 4)
    arguments = {"teacher_forcing": [False] * 3, "kl_beta": 1.0, "noise": noise}
    ours, theirs = make_model(), make_model()
    loss_of(ours, frames, poses, **arguments)
    reference.training_loss(theirs, frames, poses, **arguments)
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value, msg=name)


@pytest.mark.parametrize("forcing", FORCINGS)
def test_elbo_is_in_nats_a_frame_with_unit_variance(forcing):
    """−½·(squared error summed over a frame) − KL."""
    model, (frames, poses, noise) = make_model(), make_batch(3, 4)
    flags = FORCINGS[forcing](3)
    _, metrics, _ = loss_of(model, frames, poses, teacher_forcing=flags, kl_beta=0.5, noise=noise)
    predicted = torch.sigmoid(predictions(model, frames, poses, flags, noise))
    squared_errors = (predicted - frames[:, 1:].transpose(0, 1)).square().sum((2, 3, 4))
    expected = -0.5 * squared_errors.mean() - metrics["kl"]
    assert metrics["elbo"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_cauchy_loss_counts_large_errors_by_their_logarithm():
    """Against one frame after another; far below the scale the loss is near the squared error."""
    model, (frames, poses, noise) = make_model(), make_batch(3, 4)
    arguments = {"teacher_forcing": [True] * 3, "kl_beta": 0.5, "noise": noise}
    plain, metrics, predicted = loss_of(model, frames, poses, **arguments)
    errors = [
        ((predicted[b, t] - frames[b, t + 1]) ** 2).mean().item()
        for b in range(3)
        for t in range(3)
    ]
    for scale in (0.01, 100.0):
        model.cauchy_scale = scale
        loss, other, _ = loss_of(model, frames, poses, **arguments)
        expected = sum(scale * math.log(1 + error / scale) for error in errors) / 9
        assert loss.item() == pytest.approx(expected + 0.5 * other["kl"].item(), rel=1e-4)
        assert other["mse"].item() == pytest.approx(metrics["mse"].item(), rel=1e-5)
    assert loss.item() == pytest.approx(plain.item(), rel=2e-3)


def test_metrics_carry_no_graph():
    model, (frames, poses, noise) = make_model(), make_batch(1, 3)
    _, metrics, _ = loss_of(
        model, frames, poses, teacher_forcing=[False] * 2, kl_beta=1.0, noise=noise
    )
    assert set(metrics) == {"loss", "mse", "kl", "elbo"}
    assert all(value.ndim == 0 and not value.requires_grad for value in metrics.values())


# -------------------------------------------------------------------- teacher forcing


def without_posterior(model):
    """Make z the noise itself, so that a true frame has no way in but teacher forcing."""
    with torch.no_grad():
        model.Gaussian_Predictor[-1].weight.zero_()
        model.Gaussian_Predictor[-1].bias.zero_()
    return model


@pytest.mark.parametrize("changed", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("forcing", FORCINGS)
def test_a_true_frame_is_predicted_from_where_it_is_forced_and_nowhere_else(forcing, changed):
    """Prediction t is made from frame t − 1: frame 0 always, others where their flag is set."""
    T, model = 5, without_posterior(make_model())
    frames, poses, noise = make_batch(2, T)
    flags = FORCINGS[forcing](T - 1)
    other = frames.clone()
    other[:, changed] = 1 - other[:, changed]
    before = predictions(model, frames, poses, flags, noise)
    after = predictions(model, other, poses, flags, noise)

    moves = False
    for t in range(1, T):
        if t == 1 or flags[t - 1]:
            moves = t - 1 == changed
        difference = (after[t - 1] - before[t - 1]).abs().max()
        assert difference > 1e-6 if moves else difference == 0


def test_the_posterior_looks_at_the_current_frame_and_pose():
    """z of step t depends on frame t and pose t, never on the frame before."""
    model, (frames, poses, noise) = make_model().eval(), make_batch(1, 4)
    seen = []
    model.Gaussian_Predictor.register_forward_hook(lambda *call: seen.append(call[2][1].detach()))

    def means(frames, poses):
        loss_of(model, frames, poses, teacher_forcing=[False] * 3, kl_beta=0.0, noise=noise)
        return seen.pop()

    plain = means(frames, poses)
    for kind in (0, 1):
        for t in range(4):
            inputs = [frames.clone(), poses.clone()]
            inputs[kind][:, t] = 1 - inputs[kind][:, t]
            moved = (means(*inputs) - plain).abs().amax((1, 2, 3)) > 1e-6
            assert moved.tolist() == [t == step for step in (1, 2, 3)]


# -------------------------------------------------------------------------- gradients


def feels(model, T, flags, bptt):
    """Whether prediction t has a gradient to the noise of step s, hence to prediction s."""
    frames, poses, noise = make_batch(1, T)
    noise.requires_grad_()
    with outputs_of(model) as predicted:
        loss_of(model, frames, poses, teacher_forcing=flags, kl_beta=0.0, noise=noise, bptt=bptt)
    table = []
    for prediction in predicted:
        (gradient,) = torch.autograd.grad(prediction.square().sum(), noise, retain_graph=True)
        table.append((gradient[0].abs().amax((1, 2, 3)) > 0).tolist())
    return table


@pytest.mark.parametrize("bptt", [0, 1, 2, 4, 9])
def test_gradients_pass_between_predictions_inside_runs_only(bptt):
    """Runs of bptt + 1 steps, beginning at step 0."""
    steps = range(6)
    expected = [[s <= t and s // (bptt + 1) == t // (bptt + 1) for s in steps] for t in steps]
    assert feels(make_model(), 7, [False] * 6, bptt) == expected


def test_teacher_forcing_cuts_the_gradient_too():
    expected = [[True, False, False], [True, True, False], [False, False, True]]
    assert feels(make_model(), 4, [False, False, True], bptt=9) == expected


@pytest.mark.parametrize(("bptt", "felt"), [(0, False), (1, True)])
def test_the_loss_of_a_step_reaches_the_step_before_through_its_frame(bptt, felt):
    """The target of step 1 changes the gradient at step 0 where a run joins the two."""
    model, (frames, poses, noise) = without_posterior(make_model()), make_batch(2, 3)
    noise.requires_grad_()

    def gradient_at_step_0(frames):
        flags = [False, False]
        loss, *_ = loss_of(
            model, frames, poses, teacher_forcing=flags, kl_beta=0.0, noise=noise, bptt=bptt
        )
        return torch.autograd.grad(loss, noise)[0][:, 0]

    other = frames.clone()
    other[:, 2] = 1 - other[:, 2]
    assert torch.equal(gradient_at_step_0(frames), gradient_at_step_0(other)) == (not felt)
