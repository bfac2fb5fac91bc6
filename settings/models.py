"""Which models there are, and what the settings of each are made of."""

from collections.abc import Callable
from dataclasses import dataclass, field

from settings import cvae, svg
from settings.parsing import FlagTable


@dataclass(frozen=True)
class ModelSpec:
    """The settings of one model.

    flags are those that only it has, test_flags those that only its test has. lacks: flags of every
    model that say nothing to this one, each with the reason (or ""). gpu_batches: windows of a
    step on CUDA, by preset, and the rate goes with them (settings/on_gpu.py). resolve sets, in a
    dict of settings, what follows from others; it raises UserError where they do not fit together.
    """

    name: str  # of --model
    summary: str  # for the help
    presets: dict[str, dict]
    flags: FlagTable = field(default_factory=dict)
    test_flags: FlagTable = field(default_factory=dict)
    lacks: dict[str, str] = field(default_factory=dict)
    gpu_batches: dict[str, int] = field(default_factory=dict)
    resolve: Callable[[dict], None] = lambda settings: None


MODELS: dict[str, ModelSpec] = {}


def register(spec: ModelSpec) -> None:
    """Add a model to those that --model knows."""
    MODELS[spec.name] = spec


register(
    ModelSpec(
        "cvae",
        "the CVAE of pose images",
        cvae.PRESETS,
        cvae.FLAGS,
        cvae.TEST_FLAGS,
        gpu_batches=cvae.GPU_BATCHES,
        resolve=cvae.resolve,
    )
)
register(
    ModelSpec(
        "svg",
        "the robot model, with LSTMs",
        svg.PRESETS,
        svg.FLAGS,
        lacks=svg.LACKS,
        resolve=svg.resolve,
    )
)
