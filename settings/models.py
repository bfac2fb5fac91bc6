"""Which models there are, and what the settings of each are made of."""

from collections.abc import Callable
from dataclasses import dataclass, field

from settings import cvae, svg
from settings.parsing import FlagParser


def _nothing(_) -> None:
    """Add no flags; leave the settings as they are."""


@dataclass(frozen=True)
class ModelSpec:
    """The settings of one model.

    add_flags declares the flags that only it has, add_test_flags those that only its test has.
    lacks: flags of every model that say nothing to this one, each with the reason (or ""). resolve
    sets, in a dict of settings, what follows from others; it raises UserError where they do not
    fit together.
    """

    name: str  # of --model
    summary: str  # for the help
    presets: dict[str, dict]
    add_flags: Callable[[FlagParser], None] = _nothing
    add_test_flags: Callable[[FlagParser], None] = _nothing
    lacks: dict[str, str] = field(default_factory=dict)
    resolve: Callable[[dict], None] = _nothing


MODELS: dict[str, ModelSpec] = {}


def register(spec: ModelSpec) -> None:
    """Add a model to those that --model knows."""
    MODELS[spec.name] = spec


register(
    ModelSpec(
        "cvae",
        "the CVAE of pose images",
        cvae.PRESETS,
        add_flags=cvae.add_flags,
        add_test_flags=cvae.add_test_flags,
        resolve=cvae.resolve,
    )
)
register(
    ModelSpec(
        "svg",
        "the robot model, with LSTMs",
        svg.PRESETS,
        add_flags=svg.add_flags,
        add_test_flags=svg.add_test_flags,
        lacks=svg.LACKS,
        resolve=svg.resolve,
    )
)
