"""What follows the Generator of a lab checkpoint, which does not say (docs/lab.md)."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import torch

from data.types import Clip, to_float
from modules.vae import CVAE, OUTPUT_ACTIVATIONS


def settle_output_activation(
    model: CVAE, said: str | None, clip: Callable[[], Clip], path: Path
) -> None:
    """Set what follows the Generator: as said, else judged by a clip's first frame."""
    activation = said
    if activation is None:
        activation = output_activation_of(model, clip())
        print(
            f"{path} does not say what follows its Generator; judged by the first frame: "
            f"{activation} (--output_activation overrides)"
        )
    model.config = dataclasses.replace(model.config, output_activation=activation)


@torch.inference_mode()
def output_activation_of(model: CVAE, clip: Clip) -> str:
    """Judge by a clip's first frame what follows the Generator of a lab checkpoint.

    Predicting frame 0 from itself and its own pose should give frame 0 again; the activation that
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
