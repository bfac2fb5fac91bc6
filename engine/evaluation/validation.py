"""Validation by the test's protocol: a rollout from the context frames and the conditions alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from core import distributed
from core.device import Compute
from core.randomness import Stream, normal
from data.types import Batch, Clip, to_float
from engine.evaluation.metrics import mse_by_frame
from engine.evaluation.rollout import Watch, rollout_share, unwatched
from engine.evaluation.scoring import Scores, mean_scores, score
from settings.resolve import Settings

DIAGNOSTIC_WINDOWS = 8  # windows of a clip whose posterior is examined


@dataclass(frozen=True)
class Validation:
    """What a validation of one set of clips found."""

    scores: list[Scores]
    predictions: list[Tensor]  # (T, 3, H, W) uint8 each
    losses: list[dict[str, float]]  # mse and kl of each clip, in the unit of training
    posterior: dict[str, float]  # mse and kl with the posterior (oracle); a diagnostic, not a score

    def row(self, name: str, kl_beta: float) -> dict[str, float]:
        """Return the figures as columns of the log, prefixed with the name of the set.

        The loss is that of training with the weight of the epoch, MSE + β·KL.
        """
        means = mean_scores(self.scores)
        copied = f"{self.scores[0].copied}_psnr"
        columns = {"psnr": "psnr", "ssim": "ssim", "copy_psnr": copied}
        row = {columns[m]: means[m] for m in columns}
        row |= {m: float(np.mean([loss[m] for loss in self.losses])) for m in self.losses[0]}
        row |= {"loss": row["mse"] + kl_beta * row["kl"]} if "kl" in row else {}
        row |= {f"posterior_{m}": v for m, v in self.posterior.items()}
        return {f"{name}_{column}": value for column, value in row.items()}


def validate(
    model: nn.Module,
    clips: Sequence[Clip],
    settings: Settings,
    compute: Compute,
    watch: Watch = unwatched,
) -> Validation:
    """Roll out the clips in evaluation mode and score them; the model's mode is restored.

    Several processes share the clips, and each returns the whole. watch hears how far it is.
    """
    return gather_validation(validate_share(model, clips, settings, compute, watch), len(clips))


def validate_share(
    model: nn.Module,
    clips: Sequence[Clip],
    settings: Settings,
    compute: Compute,
    watch: Watch = unwatched,
) -> Validation:
    """Validate on this process's share of the clips. Nothing is exchanged."""
    was_training = model.training
    model.eval()
    try:
        predictions = rollout_share(
            model,
            clips,
            compute=compute,
            z=settings.latent,
            temperature=settings.temperature,
            seed=settings.seed,
            watch=watch,
        )
        own = [clips[item] for item in distributed.rank_indices(len(clips))]
        scores, losses = [], []
        for clip, frames in zip(own, predictions):
            watch("score", len(scores) + 1, len(own))
            scores.append(score(clip, frames, compute.device))
            losses.append(rollout_losses(model, clip, frames, settings, compute))
        posterior = {}
        if distributed.is_main():
            posterior = posterior_diagnostics(model, clips[0], settings, compute)
    finally:
        model.train(was_training)
    return Validation(scores, predictions, losses, posterior)


def gather_validation(share: Validation, clips: int) -> Validation:
    """Join the shares of all processes."""
    return Validation(
        distributed.gather_objects(share.scores, clips),
        distributed.gather_objects(share.predictions, clips),
        distributed.gather_objects(share.losses, clips),
        distributed.broadcast_from_main(lambda: share.posterior),
    )


@torch.inference_mode()
def rollout_losses(
    model: nn.Module, clip: Clip, predicted: Tensor, settings: Settings, compute: Compute
) -> dict[str, float]:
    """Return the terms of the loss for a rollout (T, 3, H, W) uint8, as training counts them.

    mse: over the predicted frames. kl: of the posteriors of the true frames to the priors along
    the rollout, which predicted without them; only of a model that has `kl_by_step`. Both are
    means over the predicted frames; of a model that sums over the steps, times the steps of a
    training window.
    """
    first = clip.n_past
    by_frame = {"mse": mse_by_frame(predicted[first:], clip.frames[first:]) / 255**2}
    if hasattr(model, "kl_by_step"):
        frames, conditions, previous = (
            to_float(x.to(compute.device))[None]
            for x in (clip.frames, clip.conditions, predicted[:-1])
        )
        with compute.uncompiled(), compute.autocast():
            by_step = model.kl_by_step(frames, conditions, previous)[0]
        by_frame["kl"] = by_step[first - 1 :].cpu()
    steps = settings.train_vi_len - 1 if getattr(model, "sums_steps", False) else 1
    return {name: steps * float(values.double().mean()) for name, values in by_frame.items()}


@torch.inference_mode()
def posterior_diagnostics(
    model: nn.Module, clip: Clip, settings: Settings, compute: Compute
) -> dict[str, float]:
    """Return MSE and KL with the posterior of the true frames, on a few windows of a clip.

    An oracle, which sees the frames it predicts: it says whether the latent is used, not how good
    a prediction is (docs/method.md).
    """
    length = min(settings.train_vi_len, len(clip))
    starts = np.linspace(0, len(clip) - length, DIAGNOSTIC_WINDOWS).astype(int)
    index = torch.from_numpy(starts[:, None] + np.arange(length))  # (B, T)
    frames, conditions = (
        to_float(x[index].to(compute.device)) for x in (clip.frames, clip.conditions)
    )
    counters = [(int(start),) for start in starts]
    shape = (length - 1, *model.latent_shape)
    noise = normal(shape, settings.seed, Stream.DIAGNOSTIC, counters, compute.device)
    forced = [True] * (length - 1)
    with compute.uncompiled(), compute.autocast():
        _, metrics, _ = model(
            Batch(frames, conditions),
            teacher_forcing=forced,
            kl_beta=0.0,
            noise=noise,
            bptt=0,
            previous=None,
        )
    return {name: float(metrics[name]) for name in ("mse", "kl") if name in metrics}
