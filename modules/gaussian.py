"""Diagonal Gaussians: sampling and the KL divergence in closed form (docs/method.md)."""

import torch
from torch import Tensor


def reparameterize(mu: Tensor, logvar: Tensor, noise: Tensor | None = None) -> Tensor:
    """z = μ + σ·ε with ε ~ N(0, I), so that gradients reach μ and σ (Kingma & Welling 2014, 2.4).

    `noise` is ε, of the shape of `mu`; drawn from the global generator where it is None.
    """
    if noise is None:
        noise = torch.randn_like(mu)
    return mu + torch.exp(0.5 * logvar) * noise


def kl_criterion(mu: Tensor, logvar: Tensor, batch_size: int) -> Tensor:
    """KL(N(μ, σ²) ‖ N(0, I)) in nats, summed over every dimension, divided by `batch_size`.

    Kingma & Welling 2014, appendix B. `mu` and `logvar` have one shape, (B, …).
    """
    return -0.5 * torch.sum(1 + logvar - mu.square() - logvar.exp()) / batch_size


def kl_between(mu: Tensor, logvar: Tensor, prior_mu: Tensor, prior_logvar: Tensor) -> Tensor:
    """KL(N(μ, σ²) ‖ N(μ_p, σ_p²)) in nats, summed over every dimension; all of one shape.

    With a prior of zeros, N(0, I), it is that of `kl_criterion`.
    """
    return kl_by_dimension(mu, logvar, prior_mu, prior_logvar).sum()


def kl_by_dimension(mu: Tensor, logvar: Tensor, prior_mu: Tensor, prior_logvar: Tensor) -> Tensor:
    """The terms that `kl_between` sums, in nats; those of the prior may be scalars."""
    ratio = torch.exp(logvar - prior_logvar)
    distance = (mu - prior_mu).square() * torch.exp(-prior_logvar)
    return 0.5 * (prior_logvar - logvar + ratio + distance - 1)
