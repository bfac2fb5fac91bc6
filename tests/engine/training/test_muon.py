"""The optimizer Muon against its definitions."""

import math

import pytest
import torch
from torch import nn

from engine.training.muon import BETAS, MOMENTUM, UPDATE_RMS, Muon, is_matrix, orthogonal
from engine.training.optimizers import make_optimizer
from modules.vae import CVAE, CVAEConfig


def parameter(*shape: int, seed: int = 0) -> nn.Parameter:
    generator = torch.Generator().manual_seed(seed)
    return nn.Parameter(torch.randn(shape, generator=generator))


def test_singular_values_become_about_1_and_directions_stay():
    matrices = torch.stack([parameter(10, 30, seed=k).detach() for k in range(3)])
    matrices[1] *= 1e-4  # the size of a gradient does not matter
    u, s, vh = torch.linalg.svd(orthogonal(matrices), full_matrices=False)
    assert s.min() > 0.6
    assert s.max() < 1.3
    U, _, Vh = torch.linalg.svd(matrices, full_matrices=False)
    cosine = torch.nn.functional.cosine_similarity
    assert (cosine((u @ vh).flatten(1), (U @ Vh).flatten(1)) > 0.999).all()


@pytest.mark.parametrize("shape", [(12, 3, 3, 3), (16, 12, 1, 1), (40, 9)])
def test_a_matrix_steps_along_the_orthogonal_factor_of_its_momentum(shape):
    """Against the polar factor by SVD, over three steps, tall and wide."""
    weights = parameter(*shape)
    before = weights.detach().clone()
    optimizer = Muon([weights], lr=0.1, weight_decay=0.5)
    momentum = torch.zeros_like(before)
    for k in range(3):
        weights.grad = parameter(*shape, seed=10 + k).detach()
        optimizer.step()
        momentum = MOMENTUM * momentum + (1 - MOMENTUM) * weights.grad
        ahead = MOMENTUM * momentum + (1 - MOMENTUM) * weights.grad
        u, _, vh = torch.linalg.svd(ahead.flatten(1), full_matrices=False)
        size = 0.1 * UPDATE_RMS * math.sqrt(max(u.shape[0], vh.shape[1]))
        step = before * (1 - 0.1 * 0.5) - weights.detach()
        expected = size * (u @ vh)
        difference = (step.flatten(1) - expected).norm() / expected.norm()
        assert difference < 0.3  # the polynomial leaves singular values between 0.7 and 1.2
        before = weights.detach().clone()


def test_what_is_no_matrix_steps_as_with_adamw():
    ours = [parameter(5), parameter(20, 1, 3, 3), parameter(3, 40, 3, 3)]
    theirs = [nn.Parameter(p.detach().clone()) for p in ours]
    assert not any(map(is_matrix, ours))
    muon = Muon(ours, lr=0.01, weight_decay=0.1)
    adamw = torch.optim.AdamW(theirs, lr=0.01, weight_decay=0.1, betas=BETAS)
    for k in range(4):
        for a, b in zip(ours, theirs):
            a.grad = parameter(*a.shape, seed=k).detach()
            b.grad = a.grad.clone()
        muon.step()
        adamw.step()
    for a, b in zip(ours, theirs):
        torch.testing.assert_close(a, b)


class AdamWByHand:
    """AdamW written out, operation by operation: what runs before were trained with."""

    def __init__(self, parameters, lr, weight_decay, betas):
        self.parameters, self.betas = parameters, betas
        self.lr, self.weight_decay = lr, weight_decay
        self.means = [torch.zeros_like(p) for p in parameters]
        self.squares = [torch.zeros_like(p) for p in parameters]
        self.count = 0

    @torch.no_grad()
    def step(self):
        gradients, (beta1, beta2) = [p.grad for p in self.parameters], self.betas
        self.count += 1
        torch._foreach_mul_(self.parameters, 1 - self.lr * self.weight_decay)
        torch._foreach_lerp_(self.means, gradients, 1 - beta1)
        torch._foreach_mul_(self.squares, beta2)
        torch._foreach_addcmul_(self.squares, gradients, gradients, 1 - beta2)
        scale = torch._foreach_sqrt(self.squares)
        torch._foreach_div_(scale, math.sqrt(1 - beta2**self.count))
        torch._foreach_add_(scale, 1e-8)
        torch._foreach_addcdiv_(
            self.parameters, self.means, scale, -self.lr / (1 - beta1**self.count)
        )


@pytest.mark.parametrize("beta1", [0.9, 0.5])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_what_is_no_matrix_has_the_very_bits_of_adamw_by_hand(weight_decay, beta1):
    """Over 20 steps with a rate that falls, as runs have it."""
    ours = [parameter(500, seed=1), parameter(20, 1, 3, 3, seed=2), parameter(3, 40, 3, 3, seed=3)]
    theirs = [nn.Parameter(p.detach().clone()) for p in ours]
    muon = Muon(ours, lr=0.01, weight_decay=weight_decay, betas=(beta1, 0.999))
    oracle = AdamWByHand(theirs, 0.01, weight_decay, (beta1, 0.999))
    for k in range(20):
        oracle.lr = muon.param_groups[0]["lr"] = 0.01 * math.cos(k / 20)
        for n, (a, b) in enumerate(zip(ours, theirs)):
            a.grad = parameter(*a.shape, seed=100 * k + n).detach() * 10.0 ** (k % 5 - 2)
            b.grad = a.grad.clone()
        muon.step()
        oracle.step()
        for a, b in zip(ours, theirs):
            assert torch.equal(a, b)
    for a, mean, square in zip(ours, oracle.means, oracle.squares):
        state = muon.state[a]
        assert torch.equal(state["exp_avg"], mean)
        assert torch.equal(state["exp_avg_sq"], square)
        assert state["step"] == 20


def test_a_checkpoint_holds_what_it_held():
    """The names that files of earlier versions have, and no others."""
    weights = [parameter(16, 8, 3, 3), parameter(16)]
    optimizer = Muon(weights, lr=0.01, betas=(0.5, 0.999))
    for p in weights:
        p.grad = torch.ones_like(p)
    optimizer.step()
    stored = optimizer.state_dict()
    assert [g.keys() for g in stored["param_groups"]] == 2 * [
        {"lr", "weight_decay", "muon", "params"}
    ]
    assert [state.keys() for state in stored["state"].values()] == [
        {"momentum"},
        {"step", "exp_avg", "exp_avg_sq"},
    ]


def test_every_weight_of_the_model_is_in_one_group():
    model = CVAE(CVAEConfig(F_dim=16, L_dim=16, N_dim=4, D_out_dim=16, positional_bias=True))
    groups = Muon(model.parameters(), lr=0.1).param_groups
    assert [g["muon"] for g in groups] == [True, False]
    counted = [len(g["params"]) for g in groups]
    assert sum(counted) == len(list(model.parameters()))
    assert min(counted) > 0
    assert any(p is model.scene for p in groups[1]["params"])


def test_a_stored_state_goes_on_where_it_stood(settings):
    def take(weights, optimizer, seeds):
        for k in seeds:
            for p in weights:
                p.grad = parameter(*p.shape, seed=k).detach()
            optimizer.step()

    def fresh():
        weights = [parameter(16, 8, 3, 3), parameter(16)]
        return weights, Muon(weights, lr=0.01)

    undisturbed, optimizer = fresh()
    take(undisturbed, optimizer, range(4))
    weights, first = fresh()
    take(weights, first, range(2))
    resumed = Muon(weights, lr=0.01)
    resumed.load_state_dict(first.state_dict())
    take(weights, resumed, range(2, 4))
    for a, b in zip(weights, undisturbed):
        assert torch.equal(a, b)


def test_the_flag_chooses_it(settings):
    model = CVAE(CVAEConfig(F_dim=8, L_dim=8, N_dim=4, D_out_dim=8))
    optimizer = make_optimizer(model, settings(optim="Muon", weight_decay=0.2, beta1=0.7))
    assert isinstance(optimizer, Muon)
    assert optimizer.betas == (0.7, 0.999)
    assert {g["weight_decay"] for g in optimizer.param_groups} == {0.2}
