"""Schedules as pure functions of the epoch (0, 1, …): resuming needs the counter only.

With `--minutes` the epoch is a fraction of the time: the same curves, in finer steps.

Definitions: docs/lab.md, "Schedules"; cyclical annealing after Fu et al. 2019, eq. 6-7. `settings`
is any object with the flags as attributes. `start`, where given, stands for `settings.tfr` or
`settings.lr`: a run that continues a lab checkpoint begins elsewhere.
"""

import math


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

    Cyclical: over each of `kl_anneal_cycle` equal periods, β climbs linearly from
    `kl_anneal_start` to `kl_anneal_stop` in the first `kl_anneal_ratio` of the period and stays.
    Monotonic: one such period. None: `kl_anneal_stop` throughout. With fewer epochs than cycles
    an epoch is a cycle, and β stays at the start.
    """
    start, stop = settings.kl_anneal_start, settings.kl_anneal_stop
    if settings.kl_anneal_type == "None":
        return stop
    cycles = 1 if settings.kl_anneal_type == "Monotonic" else settings.kl_anneal_cycle
    cycles = min(cycles, settings.num_epoch)
    # In integers, so that the first epoch of a cycle is at τ = 0 exactly.
    tau = (epoch * cycles % settings.num_epoch) / settings.num_epoch
    return start + (stop - start) * min(1.0, tau / settings.kl_anneal_ratio)


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
