"""The networks at several resolutions: the contract, the slow loop, and what scales are for."""

from functools import partial

import pytest
import torch

from modules.multiscale import Pyramid
from modules.vae import CVAE, CVAEConfig
from tests.support import reference
from tests.support.models import loss_of
from tests.support.vae import window_inputs

make = partial(CVAEConfig, F_dim=16, L_dim=8, N_dim=4, D_out_dim=16, frame_H=16, frame_W=24)


def model_of(seed: int = 0, **fields) -> CVAE:
    torch.manual_seed(seed)
    return CVAE(make(**{"scales": 3} | fields))


def test_a_pyramid_comes_back_as_it_was_packed():
    pyramid = Pyramid(16, (8, 12), 3)
    maps = [torch.randn(2, c, h, w) for c, h, w in ((4, 8, 12), (8, 4, 6), (16, 2, 3))]
    packed = pyramid.pack(maps)
    assert packed.shape == (2, pyramid.size)
    for found, expected in zip(pyramid.unpack(packed), maps):
        torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize("forcing", [[True] * 3, [False] * 3, [False, True, False]])
@pytest.mark.parametrize("bptt", [0, 1])
def test_loss_and_gradients_are_those_of_the_slow_loop(forcing, bptt):
    model = model_of()
    given = window_inputs(model)
    rest = {"teacher_forcing": forcing, "kl_beta": 0.01, "noise": given["noise"], "bptt": bptt}
    loss, metrics, _ = loss_of(model, given["frames"], given["conditions"], **rest)
    expected, slow = reference.training_loss(model, given["frames"], given["conditions"], **rest)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert metrics["kl"].item() == pytest.approx(slow["kl"].item(), rel=1e-5)
    parameters = tuple(model.parameters())
    for one, other in zip(*(torch.autograd.grad(x, parameters) for x in (loss, expected))):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("patch_size", [1, 2])
@torch.no_grad()
def test_a_step_of_a_rollout_is_the_step_of_training(patch_size):
    model = model_of(patch_size=patch_size, positional_bias=True)
    model.scene.normal_()
    given = window_inputs(model, B=2, T=2)
    noise = given["noise"]
    _, _, trained = loss_of(
        model,
        given["frames"],
        given["conditions"],
        teacher_forcing=[True],
        kl_beta=0.0,
        noise=noise,
    )
    conditions = model.encode_conditions(given["conditions"])
    assert conditions.shape[:2] == (2, 2)
    first, truth = given["frames"].unbind(1)
    rolled, state = model.predict(first, conditions[:, 1], None, noise[:, 0], truth)
    assert state is None
    torch.testing.assert_close(rolled, trained[:, 0])


@torch.no_grad()
def test_without_a_positional_bias_a_shifted_input_is_a_shifted_output():
    """By a cell of the coarsest grid, and away from the borders."""
    model = model_of(frame_H=96, frame_W=96).double()
    frame, pose = torch.rand(2, 1, 3, 96, 96, dtype=torch.float64)
    noise = torch.zeros(1, *model.latent_shape, dtype=torch.float64)

    def predict(*pictures):
        frame, pose = pictures
        condition = model.encode_conditions(pose[:, None])[:, 0]
        return model.predict(frame, condition, None, noise)[0]

    shifted = predict(*(x.roll(4, dims=3) for x in (frame, pose)))
    middle = slice(44, 52)  # where no border is seen
    expected = predict(frame, pose).roll(4, dims=3)
    torch.testing.assert_close(shifted[..., middle, middle], expected[..., middle, middle])


def test_what_is_fine_and_what_is_far_both_count():
    """A pixel of the frame before matters where it is, in each color, and some way off."""
    model = model_of(frame_H=32, frame_W=64)
    frame = torch.rand(1, 3, 32, 64, requires_grad=True)
    condition = model.encode_conditions(torch.rand(1, 1, 3, 32, 64))[:, 0]
    predicted, _ = model.predict(frame, condition, None, torch.zeros(1, *model.latent_shape))
    (gradient,) = torch.autograd.grad(predicted[0, 0, 16, 32], frame)
    reach = gradient.abs().amax(dim=(0, 1)).nonzero()
    assert gradient[0, :, 16, 32].all()
    assert (reach[:, 1].max() - reach[:, 1].min()) > 40


@pytest.mark.parametrize("scales", [2, 3, 4])
def test_the_latent_lies_on_the_coarsest_grid(scales):
    cell = 2 << (scales - 1)
    model = model_of(scales=scales, patch_size=2, frame_H=4 * cell, frame_W=8 * cell)
    assert model.latent_shape == (4, 4, 8)


def test_one_scale_is_the_lab_model_weight_for_weight():
    torch.manual_seed(0)
    lab = CVAE(make())
    found = model_of(scales=1)
    assert lab.state_dict().keys() == found.state_dict().keys()
    assert all(torch.equal(a, b) for a, b in zip(lab.parameters(), found.parameters()))
