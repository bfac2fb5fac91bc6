"""The slow, obvious versions of the robot model's loss and rollout, written from docs/robot.md.

They take the weights of an `SVG` and nothing else of it: one step after the other, both frames
encoded at every step, skips joined along the channels, LSTM cells by their equations.
Dimensions: B batch, T frames, Z latent, K condition.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, interpolate, linear, max_pool2d


def encode(encoder: nn.Module, frame: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Return the features (B, g) and the outputs of the four stages."""
    skips, x = [], frame
    for stage in encoder.stages:
        x = stage(x)
        skips.append(x)
        x = max_pool2d(x, 2)
    return encoder.head(x), skips


def decode(decoder: nn.Module, features: Tensor, skips: list[Tensor]) -> Tensor:
    """Return the frame (B, 3, 64, 64)."""
    x = decoder.head(features)
    for stage, skip in zip(decoder.stages, reversed(skips)):
        doubled = interpolate(x, scale_factor=2, mode="nearest")
        kernel = torch.cat([stage.below.weight, stage.skip.weight], dim=1)
        joined = torch.cat([doubled, skip], dim=1)
        x = stage.rest(conv2d(joined, kernel, stage.skip.bias, padding=1))
    return 1 / (1 + torch.exp(-decoder.tail(x)))


class Cells:
    """The LSTM of a network cell by cell; its state begins with zeros."""

    def __init__(self, network: nn.Module):
        self.network = network
        self.hidden = [0.0] * network.lstm.num_layers
        self.cell = [0.0] * network.lstm.num_layers

    def step(self, x: Tensor) -> Tensor:
        lstm, x = self.network.lstm, self.network.embed(x)
        for k in range(lstm.num_layers):
            w_x, w_h, b_x, b_h = (
                getattr(lstm, f"{name}_l{k}")
                for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            )
            before = self.hidden[k] if torch.is_tensor(self.hidden[k]) else torch.zeros_like(x)
            gates = linear(x, w_x) + b_x + linear(before, w_h) + b_h
            i, f, g, o = gates.chunk(4, dim=1)
            self.cell[k] = torch.sigmoid(f) * self.cell[k] + torch.sigmoid(i) * torch.tanh(g)
            self.hidden[k] = x = torch.sigmoid(o) * torch.tanh(self.cell[k])
        return x


class Predictor(Cells):
    def __call__(self, *inputs: Tensor) -> Tensor:
        return torch.tanh(self.network.head(self.step(torch.cat(inputs, dim=1))))


class Gaussian(Cells):
    def __call__(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.step(torch.cat(inputs, dim=1))
        return self.network.mu(hidden), self.network.logvar(hidden)


def training_loss(
    model: nn.Module,
    frames: Tensor,
    conditions: Tensor,
    *,
    teacher_forcing: Sequence[bool],
    kl_beta: float,
    noise: Tensor,
    bptt: int = 0,
) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    """Return the loss of windows (B, T, 3, 64, 64), its parts, and the predictions.

    conditions: (B, T, K); teacher_forcing: T − 1 flags; noise: (B, T − 1, Z).
    """
    B, T = frames.shape[:2]
    config = model.config
    conditions = conditions[:, :, : 0 if config.action_free else 7]
    predictor, posterior = Predictor(model.predictor), Gaussian(model.posterior)
    prior = Gaussian(model.prior) if config.prior == "learned" else None
    squared_error, kl, predicted = 0.0, 0.0, []
    for t in range(1, T):
        known = t - 1 < config.n_past
        if known or teacher_forcing[t - 1]:
            before = frames[:, t - 1]
        else:
            before = predicted[-1]
            if (t - 1) % (bptt + 1) == 0:
                before = before.detach()
        h, own_skips = encode(model.encoder, before)
        if known or config.last_frame_skip:
            skips = own_skips
        condition = conditions[:, t]

        mu, logvar = posterior(encode(model.encoder, frames[:, t])[0], condition)
        sigma = torch.sqrt(torch.exp(logvar))
        z = mu + sigma * noise[:, t - 1]
        if prior is None:
            kl = kl + (0.5 * (sigma**2 + mu**2 - 1 - logvar)).sum() / B
        else:
            m, v = prior(h, condition)
            difference = torch.distributions.kl_divergence(
                torch.distributions.Normal(mu, sigma),
                torch.distributions.Normal(m, torch.exp(v / 2)),
            )
            kl = kl + difference.sum() / B

        predicted.append(decode(model.decoder, predictor(h, z, condition), skips))
        squared_error = squared_error + ((predicted[-1] - frames[:, t]) ** 2).mean()
    loss = squared_error + kl_beta * kl
    return loss, {"mse": squared_error, "kl": kl}, torch.stack(predicted, dim=1)


@torch.no_grad()
def rollout(
    model: nn.Module, frames: Tensor, conditions: Tensor, noise: Tensor, truth: Tensor | None = None
) -> Tensor:
    """Return one sequence (T, 3, 64, 64) in [0, 1], which begins with the context frames.

    frames: (n_past, 3, 64, 64); conditions: (T, K); noise: (T, Z), of which frame 0 uses none.
    z comes from the posterior of the context frames, then from the prior; or, with truth
    (T, 3, 64, 64), from the posterior of its frames.
    """
    config, n_past = model.config, len(frames)
    predictor, posterior = Predictor(model.predictor), Gaussian(model.posterior)
    prior = Gaussian(model.prior) if config.prior == "learned" else None
    predicted = list(frames[:, None])
    for t in range(1, len(conditions)):
        h, own_skips = encode(model.encoder, predicted[t - 1])
        if t - 1 < n_past or config.last_frame_skip:
            skips = own_skips
        condition = conditions[t : t + 1, : 0 if config.action_free else 7]
        mu, logvar = torch.zeros(2, 1, config.z_dim)
        if prior is not None:
            mu, logvar = prior(h, condition)
        seen = predicted[t] if t < n_past else None if truth is None else truth[t : t + 1]
        if seen is not None:
            mu, logvar = posterior(encode(model.encoder, seen)[0], condition)
        z = mu + torch.exp(0.5 * logvar) * noise[t : t + 1]
        features = predictor(h, z, condition)
        if t >= n_past:
            predicted.append(decode(model.decoder, features, skips))
    return torch.cat(predicted)
