"""Sampling and KL divergence, and the identities of docs/method.md in numbers.

Expectations over ε are taken by Gauss–Hermite quadrature, which is exact for polynomials, so
that equalities can be asserted tightly.
"""

import itertools
import math

import numpy as np
import pytest
import torch
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from modules.gaussian import kl_criterion, reparameterize


def standard_normal_nodes(count, dimensions=1):
    """Nodes (count^dimensions, dimensions) and weights with Σ w·f(node) = E f(ε)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(count)
    weights = weights / weights.sum()
    grid = np.array(list(itertools.product(nodes, repeat=dimensions)))
    products = np.array([np.prod(w) for w in itertools.product(weights, repeat=dimensions)])
    return torch.from_numpy(grid), torch.from_numpy(products)


@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (2, 4, 5, 6)])
@pytest.mark.parametrize("scale", [0.1, 3.0])
def test_kl_is_that_of_torch_distributions(shape, scale):
    generator = torch.Generator().manual_seed(0)
    mu = scale * torch.randn(shape, generator=generator, dtype=torch.float64)
    logvar = scale * torch.randn(shape, generator=generator, dtype=torch.float64)
    q, p = Normal(mu, torch.exp(0.5 * logvar)), Normal(torch.zeros_like(mu), 1.0)
    expected = kl_divergence(q, p).sum() / shape[0]
    torch.testing.assert_close(kl_criterion(mu, logvar, shape[0]), expected)


def test_kl_is_zero_only_at_the_prior():
    zero = torch.zeros(2, 3)
    assert kl_criterion(zero, zero, 2) == 0
    for changed in (0.1, -0.1):
        other = zero.clone()
        other[0, 0] = changed
        assert kl_criterion(other, zero, 2) > 0
        assert kl_criterion(zero, other, 2) > 0


def test_kl_closed_form_against_monte_carlo():
    """KL = E_q[log q(z) − log p(z)], within five standard errors."""
    mu, logvar = torch.tensor([0.7, -1.2, 0.0]), torch.tensor([-1.0, 0.8, 0.3])
    noise = torch.randn(100_000, 3, generator=torch.Generator().manual_seed(1))
    z = reparameterize(mu.expand_as(noise), logvar.expand_as(noise), noise)
    q, p = Normal(mu, torch.exp(0.5 * logvar)), Normal(torch.zeros(3), torch.ones(3))
    samples = (q.log_prob(z) - p.log_prob(z)).sum(1).double()
    error = samples.std() / len(samples) ** 0.5
    assert error < 0.01
    assert abs(samples.mean() - kl_criterion(mu, logvar, 1)) < 5 * error


def test_sample_has_the_mean_and_deviation_asked_for():
    torch.manual_seed(0)
    mu, logvar = torch.full((50_000,), 1.5), torch.full((50_000,), 2 * math.log(0.2))
    z = reparameterize(mu, logvar)
    assert abs(z.mean() - 1.5) < 5 * 0.2 / 50_000**0.5
    assert z.std() == pytest.approx(0.2, rel=0.02)
    assert not torch.equal(z, reparameterize(mu, logvar))


def test_noise_is_used_as_given_and_reaches_mu_and_logvar():
    mu = torch.tensor([0.5, -1.0], requires_grad=True)
    logvar = torch.tensor([0.0, 2 * math.log(3)], requires_grad=True)
    noise = torch.tensor([2.0, -1.0])
    z = reparameterize(mu, logvar, noise)
    torch.testing.assert_close(z, torch.tensor([2.5, -4.0]))
    z.sum().backward()
    torch.testing.assert_close(mu.grad, torch.ones(2))
    torch.testing.assert_close(logvar.grad, torch.tensor([1.0, -1.5]))  # ½σε


# -------------------------------------------------------------- evidence and its bound


def linear_model():
    """z ~ N(0, I), x | z ~ N(Wz + b, s²I): evidence and posterior have closed forms."""
    generator = torch.Generator().manual_seed(2)
    W = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    b, x = torch.randn(2, 4, generator=generator, dtype=torch.float64)
    s = 0.6
    evidence = MultivariateNormal(b, W @ W.T + s**2 * torch.eye(4))
    precision = torch.eye(3) + W.T @ W / s**2
    posterior = MultivariateNormal(
        torch.linalg.solve(precision, W.T @ (x - b) / s**2), torch.linalg.inv(precision)
    )
    return W, b, x, s, evidence.log_prob(x), posterior


def elbo(mu, logvar, W, b, x, s):
    """E_q log p(x | z) − KL(q ‖ prior) with the project's sampling and KL."""
    noise, weights = standard_normal_nodes(3, dimensions=3)
    z = reparameterize(mu.expand_as(noise), logvar.expand_as(noise), noise)
    log_likelihood = Normal(z @ W.T + b, s).log_prob(x).sum(1)
    return (weights * log_likelihood).sum() - kl_criterion(mu, logvar, 1)


@pytest.mark.parametrize("seed", range(5))
def test_evidence_is_the_bound_and_the_gap_to_the_posterior(seed):
    """log p(x) = ELBO + KL(q ‖ p(z | x)), hence log p(x) ≥ ELBO."""
    W, b, x, s, log_evidence, posterior = linear_model()
    generator = torch.Generator().manual_seed(seed)
    mu, logvar = torch.randn(2, 3, generator=generator, dtype=torch.float64)
    q = MultivariateNormal(mu, torch.diag(logvar.exp()))
    bound = elbo(mu, logvar, W, b, x, s)
    assert bound < log_evidence
    torch.testing.assert_close(bound + kl_divergence(q, posterior), log_evidence)


def test_bound_is_tight_at_the_posterior():
    """With one latent the posterior is in the family of q, and nothing is lost."""
    w, b, x, s = (torch.tensor(v, dtype=torch.float64) for v in (1.7, 0.2, -0.9, 0.5))
    variance = s**2 / (w**2 + s**2)
    mu, logvar = w * (x - b) / (w**2 + s**2), variance.log()
    noise, weights = standard_normal_nodes(3)
    z = reparameterize(mu, logvar, noise[:, 0])
    bound = (weights * Normal(w * z + b, s).log_prob(x)).sum() - kl_criterion(mu, logvar, 1)
    torch.testing.assert_close(bound, Normal(b, torch.sqrt(w**2 + s**2)).log_prob(x))


@pytest.mark.parametrize(
    ("function", "expectation"),
    [
        (lambda z: 3 * z**2 - 2 * z, lambda m, v: 3 * (m**2 + v) - 2 * m),
        (torch.sin, lambda m, v: torch.sin(m) * torch.exp(-v / 2)),
        (torch.exp, lambda m, v: torch.exp(m + v / 2)),
    ],
    ids=["quadratic", "sine", "exponential"],
)
def test_sampling_has_the_gradient_of_the_expectation(function, expectation):
    """∇ E_q f(z) = E_ε ∇ f(μ + σε) with respect to mean and log variance."""
    mu = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    logvar = torch.tensor(-0.3, dtype=torch.float64, requires_grad=True)
    noise, weights = standard_normal_nodes(40)
    z = reparameterize(mu.expand(40), logvar.expand(40), noise[:, 0])
    found = torch.autograd.grad((weights * function(z)).sum(), (mu, logvar))
    expected = torch.autograd.grad(expectation(mu, logvar.exp()), (mu, logvar))
    torch.testing.assert_close(found, expected)
