"""The optimizer Muon against its definitions."""

import copy
import math

import pytest
import torch
from torch import nn

from engine.training.muon import BETAS, MOMENTUM, UPDATE_RMS, Muon, is_matrix
from engine.training.newton_schulz import orthogonal, shared_shapes
from engine.training.optimizers import make_optimizer
from modules.vae import CVAE, CVAEConfig
from tests.support.runs import same


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


# ------------------------------------------------------------- the form for GPUs


def test_matrices_filled_up_with_zeros_are_pushed_as_they_are():
    matrix = parameter(10, 30).detach()
    wide = torch.zeros(2, 14, 40)
    wide[0, :10, :30], wide[1, :14, :40] = matrix, parameter(14, 40, seed=1).detach()
    pushed = orthogonal(wide)
    torch.testing.assert_close(pushed[0, :10, :30], orthogonal(matrix[None])[0])
    assert (pushed[0, 10:] == 0).all()
    assert (pushed[0, :, 30:] == 0).all()


@pytest.mark.parametrize(
    ("F", "L", "N", "D", "batches"), [(64, 16, 4, 96, 5), (128, 32, 12, 192, 12)]
)
def test_the_shapes_of_the_presets_become_few(F, L, N, D, batches):
    with torch.device("meta"):
        model = CVAE(CVAEConfig(F, L, N, D, patch_size=2 if F == 64 else 1))
    matrices = [p for p in model.parameters() if is_matrix(p)]
    shapes = [tuple(sorted((p.shape[0], p[0].numel()))) for p in matrices]
    shared = shared_shapes(shapes)
    assert set(shared) == set(shapes)
    assert all(m <= M and n <= N for (m, n), (M, N) in shared.items())
    assert len(set(shapes)) > 45
    assert len(set(shared.values())) == batches


def test_both_forms_take_the_same_steps():
    """The form for GPUs, with a rate that is a tensor, beside the one for CPUs."""
    shapes = [(16, 8, 3, 3), (24, 9), (9, 24), (40, 8, 1, 1), (16, 1, 3, 3), (5,)]
    results = []
    for form in (True, False):
        weights = [parameter(*shape, seed=k) for k, shape in enumerate(shapes)]
        for p in weights:
            if p.dim() == 4:
                p.data = p.data.contiguous(memory_format=torch.channels_last)
        rate = torch.tensor(0.01) if form else 0.01
        muon = Muon(weights, lr=rate, weight_decay=0.1, masked=form)
        muon.found_inf = torch.zeros(())
        for k in range(3):
            for n, p in enumerate(weights):
                p.grad = torch.empty_like(p).copy_(parameter(*p.shape, seed=10 * k + n))
            muon.step()
        results.append([p.detach() for p in weights])
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-6)


def test_a_masked_step_changes_nothing_where_it_is_not_finite():
    weights = [parameter(16, 8, 3, 3), parameter(24, 9, seed=1), parameter(7, seed=2)]
    muon = Muon(weights, lr=torch.tensor(0.01), weight_decay=0.1, masked=True)
    for p in weights:
        p.grad = parameter(*p.shape, seed=5).detach()
    muon.found_inf = torch.zeros(())
    muon.step()
    before = copy.deepcopy((weights, muon.state_dict()))
    weights[0].grad[0, 0, 0, 0] = float("nan")
    weights[2].grad[3] = float("inf")
    muon.found_inf = torch.ones(())
    muon.step()
    assert same([p.detach() for p in before[0]], [p.detach() for p in weights])
    assert same(before[1], muon.state_dict())


def test_the_flag_chooses_it(settings):
    model = CVAE(CVAEConfig(F_dim=8, L_dim=8, N_dim=4, D_out_dim=8))
    optimizer = make_optimizer(model, settings(optim="Muon", weight_decay=0.2, beta1=0.7))
    assert isinstance(optimizer, Muon)
    assert optimizer.betas == (0.7, 0.999)
    assert {g["weight_decay"] for g in optimizer.param_groups} == {0.2}
