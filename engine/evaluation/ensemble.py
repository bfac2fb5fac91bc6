"""Several models as one: every step of a rollout is the mean of what they predict."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from data.types import Batch


class Ensemble(nn.Module):
    """Models of one kind and frame size behind the contract of one (`engine.contract.Model`).

    Each keeps a state, a latent and encoded conditions of its own; what they share is the frame
    before, the mean of what all of them predicted. All clips of a rollout are one batch to each.
    Noise and encoded conditions are those of all models, each flat and one after the other, as
    their widths may differ.
    """

    def __init__(self, models: Sequence[nn.Module]):
        super().__init__()
        self.models = nn.ModuleList(models)
        # Shapes of the conditions that each encodes, which are those of its networks.
        self._encoded: list[torch.Size] = []

    @property
    def latent_shape(self) -> tuple[int]:
        """Shape of the noise for one frame: that of all models, flat."""
        return (sum(shape.numel() for shape in self._latent_shapes),)

    @property
    def _latent_shapes(self) -> list[torch.Size]:
        return [torch.Size(model.latent_shape) for model in self.models]

    def forward(
        self, batch: Batch, *, noise: Tensor, **how: Any
    ) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """Return the mean of the losses, of every metric and of the predictions."""
        parts = _parts(noise, self._latent_shapes)
        found = [model(batch, noise=part, **how) for model, part in zip(self.models, parts)]
        losses, metrics, predictions = zip(*found)
        means = {name: _mean([each[name] for each in metrics]) for name in metrics[0]}
        return _mean(losses), means, _mean(predictions)

    def encode_conditions(self, conditions: Tensor) -> Tensor:
        """(B, T, …) → (B, T, E), what each model encodes, flat and one after the other."""
        encoded = [model.encode_conditions(conditions) for model in self.models]
        self._encoded = [features.shape[2:] for features in encoded]
        return torch.cat([features.flatten(2) for features in encoded], dim=2)

    def initial_state(self, first_frames: Tensor) -> tuple:
        return tuple(model.initial_state(first_frames) for model in self.models)

    def observe(
        self, frame: Tensor, condition: Tensor, state: tuple, noise: Tensor, known: Tensor
    ) -> tuple:
        return tuple(
            model.observe(frame, own_condition, own_state, own_noise, known)
            for model, own_condition, own_state, own_noise in self._own(condition, state, noise)
        )

    def predict(
        self,
        frame: Tensor,
        condition: Tensor,
        state: tuple,
        noise: Tensor,
        truth: Tensor | None = None,
    ) -> tuple[Tensor, tuple]:
        """Predict the next frame as the mean of what the models predict from the one before."""
        frames, states = zip(
            *(
                model.predict(frame, own_condition, own_state, own_noise, truth)
                for model, own_condition, own_state, own_noise in self._own(condition, state, noise)
            )
        )
        return _mean(frames), states

    def _own(self, condition: Tensor, state: tuple, noise: Tensor):
        """Return, for every model, itself and its parts of condition, state and noise."""
        conditions = _parts(condition, self._encoded)
        return zip(self.models, conditions, state, _parts(noise, self._latent_shapes), strict=True)


def _parts(flat: Tensor, shapes: Sequence[torch.Size]) -> list[Tensor]:
    """Split (…, E) into (…, *shape) for every shape."""
    parts = flat.split([shape.numel() for shape in shapes], dim=-1)
    return [part.unflatten(-1, shape) for part, shape in zip(parts, shapes)]


def _mean(values: Sequence[Tensor]) -> Tensor:
    return torch.stack(tuple(values)).mean(dim=0)
