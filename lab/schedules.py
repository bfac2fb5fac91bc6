"""The lab's faces of the KL weight and of the learning rate; the schedules are the engine's."""

from argparse import Namespace
from collections.abc import Callable

import numpy as np

from engine.training import schedules
from lab.arguments import complete_arguments
from lab.counter import EpochCounter, no_model
from settings.resolve import Settings


class kl_annealing:
    """The KL weight β by epoch (docs/lab.md, "Schedules"), with a counter of epochs.

    A subclass decides by `get_beta()`, which is what training asks.
    """

    def __init__(
        self, args: Namespace, current_epoch: float = 0, of_model: Callable[[], float] = no_model
    ):
        """of_model: returns the epoch of a model, where there is one to follow."""
        self.args = args if isinstance(args, Settings) else complete_arguments(args)
        self._counter = EpochCounter(current_epoch, of_model)

    @property
    def current_epoch(self) -> float:
        return self._counter.epoch

    @current_epoch.setter
    def current_epoch(self, epoch: float) -> None:
        self._counter.update(epoch)

    def update(self, epoch: float | None = None) -> None:
        """Go on to the next epoch, or to the one given."""
        self._counter.update(epoch)

    def get_beta(self) -> float:
        """Return β of the current epoch."""
        return schedules.kl_beta(self.args, self.current_epoch)

    @property
    def beta(self) -> float:
        """β of the current epoch."""
        return self.get_beta()

    @property
    def betas(self) -> np.ndarray:
        """β of every epoch of the run: (num_epoch,) float64."""
        return np.array([schedules.kl_beta(self.args, e) for e in range(self.args.num_epoch)])

    def frange_cycle_linear(
        self,
        n_iter: int,
        start: float = 0.0,
        stop: float = 1.0,
        n_cycle: float = 1,
        ratio: float = 1.0,
    ) -> np.ndarray:
        """Return cyclical annealing over `n_iter` epochs: (n_iter,) float64.

        In each of `n_cycle` equal periods the weight climbs linearly from start to stop in the
        first `ratio` of the period, and stays.
        """
        return schedules.linear_cycle(np.arange(n_iter), n_iter, start, stop, n_cycle, ratio)


class EpochScheduler:
    """The learning rate by epoch, as `--lr_schedule` has it, on the optimizer of a model.

    It sets the rate where the epoch moves, or a step of `--lr_warmup`; in between it leaves alone
    what a user has set. The rates of an optimizer that is the user's own are theirs.
    """

    def __init__(self, model, of_model: Callable[[], float]):
        self._model = model
        self._counter = EpochCounter(of_model(), of_model)
        self._set_at: tuple[float, int] | None = None

    @property
    def last_epoch(self) -> float:
        """The current epoch, under the name that PyTorch's schedulers have for it."""
        return self._counter.epoch

    def step(self, epoch: float | None = None) -> None:
        """Go on to the next epoch, or to the one given, and set its rate."""
        self._counter.update(epoch)
        self.set_rate()

    def get_last_lr(self) -> list[float]:
        """Return the rate of each group of parameters."""
        self.set_rate()
        return [group["lr"] for group in self._model.optim.param_groups]

    def set_rate(self) -> None:
        """Set the rate of the next step, where it is another one than that of the last."""
        run = self._model.trainer.run
        at = self.last_epoch, min(run.step, run.settings.lr_warmup)
        if at != self._set_at and not self._model.has_own("optim"):
            run.set_learning_rate(self.last_epoch)
            self._set_at = at
