"""What the engine asks of a model.

Dimensions: B batch, T frames, C colors, H×W frame size; `…` is whatever the model conditions on
(3×H×W for a pose image).
"""

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor

from data.types import Batch


class Model(Protocol):
    """A conditional video model. All state travels through arguments and return values."""

    latent_shape: tuple[int, ...]
    sums_steps: bool  # whether loss and metrics are sums over the steps of a window, or means

    def forward(
        self,
        batch: Batch,
        *,
        teacher_forcing: Sequence[bool],
        kl_beta: Tensor | float,
        noise: Tensor,
        bptt: int,
        previous: Tensor | None,
    ) -> tuple[Tensor, dict[str, Tensor], Tensor | None]:
        """Return the loss of a batch, its metrics, and its predictions (B, T - 1, C, H, W).

        teacher_forcing: T - 1 flags; a step predicts from the true frame where its flag is set.
        noise (B, T - 1, *latent_shape). bptt: how many predictions a gradient passes back through.
        previous (B, T - 1, C, H, W), where given, are the frames to predict from.

        Metrics are scalars by name, `loss` among them. They and the predictions are detached; a
        model that knows no prediction buffer may return None for the predictions.
        """

    def kl_by_step(self, frames: Tensor, conditions: Tensor, previous: Tensor) -> Tensor:
        """Return the KL of the posterior of every true frame to the prior, in nats: (B, T - 1).

        frames (B, T, C, H, W) and conditions (B, T, …) as in a batch; previous (B, T - 1, C, H, W)
        are the frames that the steps predict from.
        """

    def encode_conditions(self, conditions: Tensor) -> Tensor:
        """Encode (B, T, …) once for a whole rollout; the result is (B, T, …) too."""

    def initial_state(self, first_frames: Tensor) -> Any:
        """Return the state before the first step from the frames (B, C, H, W)."""

    def observe(
        self, frame: Tensor, condition: Tensor, state: Any, noise: Tensor, known: Tensor
    ) -> Any:
        """Return the state after a step whose next frame is known, (B, C, H, W)."""

    def predict(
        self,
        frame: Tensor,
        condition: Tensor,
        state: Any,
        noise: Tensor,
        truth: Tensor | None = None,
    ) -> tuple[Tensor, Any]:
        """Return the next frame and state; noise is (B, *latent_shape).

        The latent is the prior's, or that of the posterior where the true next frame is given.
        """
