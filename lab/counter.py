"""The epoch at which a schedule of the lab stands, whoever counts."""

from collections.abc import Callable


def no_model() -> float:
    """The epoch of no model: it never moves."""
    return 0


class EpochCounter:
    """Counts updates, and follows the epoch of a model where that has moved since the last one.

    So a loop may count with `update()`, with `model.current_epoch += 1`, or with both.
    """

    def __init__(self, epoch: float = 0, of_model: Callable[[], float] = no_model):
        self._of_model = of_model
        self.update(epoch)

    @property
    def epoch(self) -> float:
        now = self._of_model()
        return self._counted if now == self._seen else now

    def update(self, epoch: float | None = None) -> None:
        """Go on to the next epoch, or to the one given."""
        now = self._of_model()
        if epoch is not None:
            self._counted = epoch
        elif now == self._seen:
            self._counted += 1
        else:
            self._counted = now
        self._seen = now
