"""Samples of a stochastic model, scored as the field does: the best of N, per metric and sequence.

What is scored and why: docs/robot.md.

Dimensions: N samples of a sequence, S its predicted frames ("steps"), T its frames in all.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from core.device import Compute
from core.randomness import Stream, numpy_generator
from data.types import Clip
from engine.contract import Model
from engine.evaluation.metrics import psnr_by_frame, ssim_by_frame
from engine.evaluation.rollout import rollout
from engine.evaluation.scoring import copy_last, scoring_device

METRICS = {"psnr": psnr_by_frame, "ssim": ssim_by_frame}
SHOWN = 3  # random samples kept to be looked at
CERTAINTY = 1.96  # standard errors of a 95 % interval


@dataclass(frozen=True)
class Sampled:
    """The samples of one clip: scores of all, frames of some. Better is higher in every metric."""

    clip: Clip
    samples: dict[str, np.ndarray]  # by metric, (N, S)
    posterior: dict[str, np.ndarray]  # by metric, (S,): an oracle, which sees the truth
    copied: dict[str, np.ndarray]  # by metric, (S,): the last context frame, repeated
    shown: dict[str, Tensor]  # (T, 3, H, W) uint8: posterior (oracle), best sample, random ones

    def by_step(self, metric: str) -> dict[str, np.ndarray]:
        """Return the scores of each step, (S,), by what is scored."""
        samples = self.samples[metric]
        return {
            "best": samples[best_of(samples)],
            "mean": samples.mean(axis=0),
            "posterior": self.posterior[metric],
            "copy_last": self.copied[metric],
        }


def best_of(scores: np.ndarray) -> int:
    """Return which of N samples has the best mean over its steps: (N, S) → its number."""
    return int(scores.mean(axis=1).argmax())


def sample(
    model: Model,
    clips: Sequence[Clip],
    *,
    samples: int,
    compute: Compute,
    z: str = "sample",
    temperature: float = 1.0,
    seed: int = 0,
    rows: int = 256,
    only: Sequence[int] | None = None,
) -> Iterator[Sampled]:
    """Roll out every clip `samples` times, and once with the posterior (oracle); score all of it.

    Sample n of clip k is a function of (seed, k, n). As many clips as fit into `rows` sequences
    go as one batch, all samples of them together. only: the numbers of the clips to sample, all
    where not given. The model keeps its mode: call `eval()` before.
    """
    arguments = {"compute": compute, "z": z, "temperature": temperature, "seed": seed}
    together = max(1, rows // samples)
    only = range(len(clips)) if only is None else only
    for start in range(0, len(only), together):
        numbers = only[start : start + together]
        draws = [(k, n) for k in numbers for n in range(samples)]
        predicted = rollout(model, [clips[k] for k, _ in draws], draws=draws, **arguments)
        oracle = rollout(
            model,
            [clips[k] for k in numbers],
            draws=[(k, 0) for k in numbers],
            posterior=True,
            **arguments,
        )
        for i, k in enumerate(numbers):
            of_clip = predicted[i * samples : (i + 1) * samples]
            yield _scored(clips[k], of_clip, oracle[i], compute.device, (seed, k))


def _scored(
    clip: Clip,
    samples: Sequence[Tensor],
    oracle: Tensor,
    device: torch.device,
    seed_and_number: tuple[int, int],
) -> Sampled:
    first = clip.n_past
    device = scoring_device(device)
    true = clip.frames[first:].to(device)

    def scores(predicted: Tensor) -> dict[str, np.ndarray]:
        predicted = predicted[first:].to(device)
        return {name: metric(predicted, true).cpu().numpy() for name, metric in METRICS.items()}

    of_samples = [scores(predicted) for predicted in samples]
    by_metric = {name: np.stack([s[name] for s in of_samples]) for name in METRICS}
    seed, number = seed_and_number
    rng = numpy_generator(seed, Stream.SHOWN, number)
    random = rng.permutation(len(samples))[:SHOWN].tolist()
    shown = {"posterior": oracle, "best": samples[best_of(by_metric["psnr"])]}
    shown |= {f"sample {n}": samples[n] for n in random}
    return Sampled(clip, by_metric, scores(oracle), scores(copy_last(clip)), shown)


# ----------------------------------------------------------------------- tables


def step_table(sampled: Sequence[Sampled]) -> pd.DataFrame:
    """Return the mean over sequences of every score at every step, with its 95 % interval.

    Columns: metric, of (best, mean, posterior, copy_last), frame, mean, low, high.
    """
    first = sampled[0].clip.n_past
    rows = []
    for metric in METRICS:
        by_step = [s.by_step(metric) for s in sampled]
        for of in by_step[0]:
            for step, values in enumerate(np.stack([scores[of] for scores in by_step], axis=1)):
                mean, half = interval(values)
                row = {"metric": metric, "of": of, "frame": first + step}
                rows.append(row | {"mean": mean, "low": mean - half, "high": mean + half})
    return pd.DataFrame(rows)


def sequence_table(sampled: Sequence[Sampled]) -> pd.DataFrame:
    """Return the mean over the steps of every score, a row for each sequence."""
    rows = {}
    for s in sampled:
        scores = {metric: s.by_step(metric) for metric in METRICS}
        rows[s.clip.name] = {
            f"{of}_{metric}": float(values.mean())
            for metric, kinds in scores.items()
            for of, values in kinds.items()
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("sequence")


def summary_table(by_sequence: pd.DataFrame) -> pd.DataFrame:
    """Return the mean over sequences and half its 95 % interval, a row for each of what is scored.

    Columns: psnr, psnr_ci, ssim, ssim_ci.
    """
    rows: dict[str, dict[str, float]] = {}
    for column in by_sequence:
        of, metric = column.rsplit("_", 1)
        mean, half = interval(by_sequence[column].to_numpy())
        rows.setdefault(of, {}).update({metric: mean, f"{metric}_ci": half})
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("of")


def interval(values: np.ndarray) -> tuple[float, float]:
    """Return the mean over sequences and half the width of its 95 % interval (0 for one)."""
    mean = float(values.mean(dtype=np.float64))
    if len(values) < 2:
        return mean, 0.0
    return mean, float(CERTAINTY * values.std(ddof=1, dtype=np.float64) / len(values) ** 0.5)
