"""Which model a checkpoint holds: the one place below the scripts that knows engine and modules."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from core.errors import UserError
from core.randomness import Stream, torch_seed
from data.types import Clip, to_float
from engine.checkpoints.checkpoint import is_ours
from modules.svg import SVGConfig
from modules.vae import CVAE, OUTPUT_ACTIVATIONS, CVAEConfig
from settings.resolve import check_values, stored_settings


def model_of(content: dict) -> str:
    """Return the `--model` a checkpoint holds."""
    settings = content.get("settings") if is_ours(content) else None
    return settings.get("model", "dance") if isinstance(settings, dict) else "dance"


def stored_config(content: dict, path: Path) -> dict:
    """Return the model settings a checkpoint holds; of a lab file, those its weights show.

    Raises UserError where the weights are not those of the five networks, or of the robot model.
    """
    if model_of(content) == "svg":
        if "predictor.lstm.weight_ih_l0" not in content["state_dict"]:
            raise UserError(f"{path}: its settings say --model svg, its weights are not of it")
        stored = stored_settings(content, path)
        fields = SVGConfig.__dataclass_fields__
        return {name: stored.get(name, field.default) for name, field in fields.items()}
    try:
        shown = CVAEConfig.widths_of(content["state_dict"])
    except (KeyError, IndexError) as error:
        raise UserError(f"{path}: not a checkpoint of the dance model (no {error})") from None
    if not is_ours(content):
        config = check_values(shown, path) | {"patch": 1, "scene": False}
        check_shapes(content, config, path)
        return config
    stored, fields = stored_settings(content, path), CVAEConfig.__dataclass_fields__
    config = {name: stored.get(name, field.default) for name, field in fields.items()}
    for name, width in shown.items():
        if config[name] != width:
            raise UserError(
                f"{path}: its settings say {name} = {config[name]}, its weights {width}"
            )
    check_shapes(content, config, path)
    return config


def check_shapes(content: dict, config: dict, path: Path) -> None:
    """Raise UserError where the weights are not those of a model of this config.

    Asked before one is built: a file of a few bytes may claim widths that take all memory.
    """
    with torch.device("meta"):
        expected = CVAE(CVAEConfig(**config)).state_dict()
    weights = content["state_dict"]
    wrong = [f"no {name}" for name in expected if name not in weights]
    wrong += [f"{name} is not one of its weights" for name in weights if name not in expected]
    wrong += [
        f"{name} is {tuple(weights[name].shape)}, not {tuple(expected[name].shape)}"
        for name in expected.keys() & weights.keys()
        if weights[name].shape != expected[name].shape
    ]
    if wrong:
        raise UserError(f"{path} does not fit this model: {'; '.join(wrong[:3])}")


@contextlib.contextmanager
def seeded_weights(seed: int) -> Iterator[None]:
    """Draw initial weights from the seed and leave the global generator as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(torch_seed(seed, Stream.INITIAL_WEIGHTS))
        yield


@torch.inference_mode()
def output_activation_of(model: CVAE, clip: Clip) -> str:
    """Judge by a clip's first frame what follows the Generator of a lab checkpoint.

    Drawing frame 0 from itself and its own pose should give frame 0 again; the activation that
    comes nearest is taken. A clamp is never worse than nothing on a picture, so `none` is taken
    where it loses less than a tenth to `clamp`. Leaves the model with the activation `none`.
    """
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    frame, pose = (to_float(x[:1].to(device)) for x in (clip.frames, clip.conditions))
    model.config = dataclasses.replace(model.config, output_activation="none")
    condition = model.encode_conditions(pose[None])[:, 0]
    noise = torch.zeros(1, *model.latent_shape, device=device)
    raw, _ = model.predict(frame, condition, model.initial_state(frame), noise)
    model.train(was_training)
    error = {
        name: float((activate(raw) - frame).square().mean())
        for name, activate in OUTPUT_ACTIVATIONS.items()
    }
    if error["sigmoid"] < error["clamp"]:
        return "sigmoid"
    return "none" if error["none"] <= 1.1 * error["clamp"] else "clamp"


def settle_output_activation(
    model: CVAE, said: str | None, clip: Callable[[], Clip], path: Path
) -> None:
    """Set what follows the Generator of a lab checkpoint: as said, else judged by a first frame."""
    activation = said
    if activation is None:
        activation = output_activation_of(model, clip())
        print(
            f"{path} does not say what follows its Generator; judged by the first frame: "
            f"{activation} (--output_activation overrides)"
        )
    model.config = dataclasses.replace(model.config, output_activation=activation)
