"""Schedules as pure functions of the epoch (0, 1, …): resuming needs the counter only.

With `--minutes` the epoch is a fraction of the time: the same curves, in finer steps.

Definitions: docs/lab.md, "Schedules"; cyclical annealing after Fu et al. 2019, eq. 6-7. `settings`
is any object with the flags as attributes. `start`, where given, stands for `settings.tfr` or
`settings.lr`: a run that continues a lab checkpoint begins elsewhere.
"""

import math

import numpy as np


def teacher_forcing_ratio(settings, epoch: float, start: float | None = None) -> float:
    """Return the probability that an epoch predicts from true frames; decays from `tfr_sde` on.

    Once it has decayed to `tfr_lower_bound` it is 0.
    """
    start = settings.tfr if start is None else start
    decays = max(0, math.floor(epoch) - settings.tfr_sde + 1)
    ratio = max(0.0, start - settings.tfr_d_step * decays)
    return 0.0 if ratio < start and ratio <= settings.tfr_lower_bound else ratio


def kl_beta(settings, epoch: float) -> float:
    """Return β, the weight of the KL term.

    Cyclical: over each of `kl_anneal_cycle` equal periods, or of periods of `kl_anneal_period`
    epochs, β climbs linearly from `kl_anneal_start` to `kl_anneal_stop` in the first
    `kl_anneal_ratio` of the period and stays. Monotonic: one such period over all epochs. None:
    `kl_anneal_stop` throughout. With fewer epochs than cycles an epoch is a cycle, and β stays at
    the start.
    """
    start, stop = settings.kl_anneal_start, settings.kl_anneal_stop
    if settings.kl_anneal_type == "None":
        return stop
    epochs, cycles = kl_cycles(settings)
    return float(linear_cycle(epoch, epochs, start, stop, cycles, settings.kl_anneal_ratio))


def kl_cycles(settings) -> tuple[int, int]:
    """Return how many epochs make up how many cycles of β, of the types that have any."""
    if settings.kl_anneal_type == "Monotonic":
        return settings.num_epoch, 1
    if (period := getattr(settings, "kl_anneal_period", None)) is not None:
        return period, 1
    return settings.num_epoch, min(settings.kl_anneal_cycle, settings.num_epoch)


def linear_cycle(at, length: float, start: float, stop: float, cycles: float, ratio: float):
    """Return the weight at a point of cyclical annealing; `cycles` periods span `length`.

    With τ, the part of the period that is over: start + (stop − start) · min(1, τ / ratio).
    at: a number, or an array of them.
    """
    tau = (at * cycles % length) / length  # the first of a cycle is at 0 exactly: no fractions
    return start + (stop - start) * np.minimum(1.0, tau / ratio)


def learning_rate(settings, epoch: float, start: float | None = None) -> float:
    """Return the learning rate of an epoch: `lr` times the shape of `lr_schedule`."""
    return (settings.lr if start is None else start) * learning_rate_shape(settings, epoch)


def learning_rate_shape(settings, epoch: float) -> float:
    """Return the factor on `lr`, 1 at the start: cosine, multistep, step, exponential, constant.

    cosine: ½(1 + cos(π·e/E)), 0 only after the last epoch. multistep: × `lr_gamma` at each epoch
    of `lr_milestones`. step: × `lr_gamma` every `lr_step_size` epochs. exponential: × `lr_gamma`
    every epoch.
    """
    match settings.lr_schedule:
        case "cosine":
            return 0.5 * (1 + math.cos(math.pi * min(1.0, epoch / settings.num_epoch)))
        case "multistep":
            return settings.lr_gamma ** sum(epoch >= m for m in settings.lr_milestones)
        case "step":
            return settings.lr_gamma ** (epoch // settings.lr_step_size)
        case "exponential":
            return settings.lr_gamma**epoch
        case "constant":
            return 1.0
    raise ValueError(f"unknown lr_schedule {settings.lr_schedule!r}")
