"""The slow, obvious versions of training loss and rollout, written from docs/method.md: the oracle.

They take the five networks of a `CVAE` and nothing else of it: one frame at a time, every true
frame encoded where a step asks for it. Dimensions: B batch, T frames, H×W frame size, N latent
channels.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

OUTPUTS = {
    "sigmoid": lambda x: 1 / (1 + torch.exp(-x)),
    "clamp": lambda x: torch.clamp(x, 0, 1),
    "none": lambda x: x,
}


def training_loss(
    model: torch.nn.Module,
    frames: Tensor,
    conditions: Tensor,
    *,
    teacher_forcing: Sequence[bool],
    kl_beta: float,
    noise: Tensor,
    bptt: int = 0,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the loss of windows (B, T, 3, H, W) and its parts, step by step.

    conditions: the poses, (B, T, 3, H, W); teacher_forcing: T − 1 flags; noise:
    (B, T − 1, N, H, W). A gradient passes from prediction
    to prediction inside runs of bptt + 1 steps.
    """
    B, T = frames.shape[:2]
    # BatchNorm takes its statistics over all poses at once, so these are encoded together.
    pose_features = model.label_transformation(conditions[:, 1:].flatten(0, 1))
    pose_features = pose_features.unflatten(0, (B, T - 1))
    squared_error, kl, predicted = 0.0, 0.0, None
    for t in range(1, T):
        pose = pose_features[:, t - 1]
        current = model.frame_transformation(frames[:, t])
        _, mu, logvar = model.Gaussian_Predictor(current, pose)
        sigma = torch.sqrt(torch.exp(logvar))
        z = mu + sigma * noise[:, t - 1]
        kl = kl + (0.5 * (sigma**2 + mu**2 - 1 - logvar)).sum() / B

        if t == 1 or teacher_forcing[t - 1]:
            before = frames[:, t - 1]
        else:
            begins_a_run = (t - 1) % (bptt + 1) == 0
            before = predicted.detach() if begins_a_run else predicted
        predicted = predict(model, before, pose, z)
        squared_error = squared_error + ((predicted - frames[:, t]) ** 2).mean()
    mse, kl = squared_error / (T - 1), kl / (T - 1)
    return mse + kl_beta * kl, {"mse": mse, "kl": kl}


@torch.no_grad()
def rollout(model: torch.nn.Module, first_frame: Tensor, poses: Tensor, noise: Tensor) -> Tensor:
    """Return one sequence (T, 3, H, W) in [0, 1], frame 0 being the given (3, H, W) one.

    poses: (T, 3, H, W) in [0, 1]; noise: (T, N, H, W), of which frame 0 uses none.
    """
    frames = [first_frame[None]]
    for t in range(1, len(poses)):
        pose = model.label_transformation(poses[t : t + 1])
        frames.append(predict(model, frames[-1], pose, noise[t : t + 1]))
    return torch.cat(frames)


def predict(model: torch.nn.Module, before: Tensor, pose_features: Tensor, z: Tensor) -> Tensor:
    """Predict the frame after `before` (B, 3, H, W)."""
    fused = model.Decoder_Fusion(model.frame_transformation(before), pose_features, z)
    return OUTPUTS[model.config.output_activation](model.Generator(fused))
