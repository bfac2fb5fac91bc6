"""What the schedules of a run will do that its flags may not mean: said before it trains."""

from engine.training.schedules import kl_cycles
from settings.resolve import Settings


def schedule_notes(settings: Settings) -> list[str]:
    """Return a line for each, with the flag to change."""
    return [note for note in (_beta_never_climbs(settings), _fast_is_not_less(settings)) if note]


def _beta_never_climbs(settings: Settings) -> str | None:
    """Cycles of one epoch: its only β is the first of a cycle.

    With `--minutes` β climbs within epochs.
    """
    start, stop = settings.kl_anneal_start, settings.kl_anneal_stop
    if settings.kl_anneal_type == "None" or settings.minutes is not None or start == stop:
        return None
    epochs, cycles = kl_cycles(settings)
    if epochs > cycles:
        return None
    stays = f"β stays at its start, {start:g}, in every epoch"
    if settings.num_epoch == 1:
        return f"--num_epoch 1: {stays}; raise it, or --kl_anneal_type None for {stop:g} throughout"
    if settings.kl_anneal_period is not None:
        return f"--kl_anneal_period {settings.kl_anneal_period}: {stays}; a longer one has it climb"
    most = settings.num_epoch // 2
    return (
        f"--kl_anneal_cycle {settings.kl_anneal_cycle} with --num_epoch {settings.num_epoch} makes "
        f"every cycle one epoch, and {stays}; --kl_anneal_cycle {most} or fewer has it climb"
    )


def _fast_is_not_less(settings: Settings) -> str | None:
    if not settings.fast_train or settings.fast_partial <= settings.partial:
        return None
    return (
        f"--fast_train: --partial {settings.partial:g} is less than --fast_partial "
        f"{settings.fast_partial:g}, and is what the first epochs use too"
    )
