"""The robot model: stochastic video generation with LSTMs, given what the robot is told to do.

SVG (Denton & Fergus 2018) with its fixed prior, or its learned one, and a condition of K numbers
for every step: condition t is what leads from frame t − 1 to frame t. (docs/robot.md.)

Dimensions: B batch, T frames of a window, 64×64 frames of 3 colors; g features of a frame,
Z latent, K condition. Frames lie in [0, 1].
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from modules.gaussian import kl_between, kl_by_dimension, reparameterize
from modules.lstm import FramePredictor, GaussianLSTM, State
from modules.vgg import VGGDecoder, VGGEncoder

Skips = tuple[Tensor, ...]

CONDITION_DIM = 7  # K: four actions and three coordinates of the end effector


@dataclass(frozen=True)
class SVGConfig:
    """What the weights of an `SVG` mean. Stored in checkpoints."""

    g_dim: int = 128
    z_dim: int = 64
    rnn_size: int = 256
    predictor_rnn_layers: int = 2
    posterior_rnn_layers: int = 1
    vgg_width: int = 64
    action_free: bool = False
    prior: str = "fixed"
    n_past: int = 2
    last_frame_skip: bool = False

    @classmethod
    def from_settings(cls, settings) -> "SVGConfig":
        """Take the fields of this class from any object that has them as attributes."""
        return cls(**{name: getattr(settings, name) for name in cls.__dataclass_fields__})


class SVGState(NamedTuple):
    """All that a rollout carries from step to step beside the frame."""

    skips: Skips  # the decoder's terms of the last context frame's skips
    predictor: State
    posterior: State
    prior: State | None


class SVG(nn.Module):
    """Encoder, decoder and LSTMs behind the project's contract for training and prediction.

    The engine calls the model to train; `initial_state`, `observe` and `predict` to roll out.
    """

    sums_steps = True  # the loss is a sum over the steps of a window

    def __init__(self, config: SVGConfig):
        super().__init__()
        g, Z, R = config.g_dim, config.z_dim, config.rnn_size
        K = 0 if config.action_free else CONDITION_DIM
        self.config = config
        self.encoder = VGGEncoder(config.vgg_width, g)
        self.decoder = VGGDecoder(config.vgg_width, g)
        self.predictor = FramePredictor(g + Z + K, R, config.predictor_rnn_layers, g)
        self.posterior = GaussianLSTM(g + K, R, config.posterior_rnn_layers, Z)
        learned = config.prior == "learned"
        self.prior = GaussianLSTM(g + K, R, config.posterior_rnn_layers, Z) if learned else None

    @property
    def latent_shape(self) -> tuple[int]:
        """Shape of the noise for one frame: (Z,)."""
        return (self.config.z_dim,)

    # ---------------------------------------------------------------- training

    def forward(
        self,
        batch,
        *,
        teacher_forcing: Sequence[bool],
        kl_beta: Tensor | float,
        noise: Tensor,
        bptt: int = 0,
        previous: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """MSE + β·KL, summed over the T − 1 predictions of each window, and the metrics to log.

        batch: frames (B, T, 3, 64, 64), conditions (B, T, K). teacher_forcing: T − 1 flags; a step
        predicts from the true frame where its flag is set or that frame is a context frame (the
        first `n_past`), from its own prediction elsewhere. noise: (B, T − 1, Z). Gradients pass
        through the LSTMs of the whole window; bptt: how many predicted frames they pass through
        besides (0 detaches every one). previous must be None: frames predicted by another rollout
        say nothing of the LSTMs' state in this one.

        MSE is the mean over pixels; KL is summed over the latent and divided by the batch. The
        metrics are detached scalars, sums over the steps as the loss is; the last result are the
        detached predictions, (B, T − 1, 3, 64, 64).
        """
        if previous is not None:
            raise ValueError("a model with LSTMs cannot predict from frames buffered elsewhere")
        frames, conditions = batch.frames, batch.conditions
        B, T = frames.shape[:2]
        # Time leads from here on. All true frames are encoded as one batch, each once.
        frames, conditions, noise = (x.transpose(0, 1) for x in (frames, conditions, noise))
        vectors, skips = self.encoder(frames.flatten(0, 1))  # (T·B, g), (T·B, …) each
        vectors = vectors.unflatten(0, (T, B))
        conditions = self._conditions(conditions[1:])  # (T-1, B, K)
        state = self._initial_state(B)
        mu, logvar, _ = self.posterior(join(vectors[1:], conditions), state.posterior)
        z = reparameterize(mu, logvar, noise)  # (T-1, B, Z)
        known = self._known_terms(skips, T, B)

        predictions: list[Tensor] = []
        priors: list[tuple[Tensor, Tensor]] = []
        for steps in self._runs(teacher_forcing):
            first, at = steps.start, slice(steps.start, steps.stop)
            here, terms = vectors[at], known[at]
            if predictions and not self._from_truth(first, teacher_forcing):
                before = predictions[-1][-1]
                vector, own = self.encoder(before.detach() if first % (bptt + 1) == 0 else before)
                here = torch.cat([vector[None], here[1:]])
                if self.config.last_frame_skip:
                    terms = [self.decoder.skip_terms(own), *terms[1:]]
            predicted, gaussian, state = self._steps(here, z[at], conditions[at], terms, state)
            predictions.append(predicted)
            priors.append(gaussian)
        predicted = torch.cat(predictions)  # (T-1, B, 3, 64, 64)

        mse = mse_loss(predicted, frames[1:].float()) * (T - 1)
        prior_mu, prior_logvar = (torch.cat(parts) for parts in zip(*priors))
        kl = kl_between(mu, logvar, prior_mu, prior_logvar) / B
        loss = mse + kl_beta * kl
        # With unit variance: log p(x | z, …) = -½·|x - x̂|² up to a constant. Nats a window.
        elbo = -0.5 * mse * frames[0, 0].numel() - kl
        metrics = {"loss": loss, "mse": mse, "kl": kl, "elbo": elbo}
        metrics = {name: value.detach() for name, value in metrics.items()}
        return loss, metrics, predicted.detach().transpose(0, 1)

    def _runs(self, teacher_forcing: Sequence[bool]) -> Iterator[range]:
        """Cut steps 0 … T − 2 into runs that can be computed at once.

        A run begins where a step starts from a prediction, which the run before has to make first.
        """
        starts = [0]
        for step in range(1, len(teacher_forcing)):
            if not self._from_truth(step, teacher_forcing):
                starts.append(step)
        yield from map(range, starts, [*starts[1:], len(teacher_forcing)])

    def _from_truth(self, step: int, teacher_forcing: Sequence[bool]) -> bool:
        """Tell whether a step starts from the true frame: step s predicts frame s + 1."""
        return step < self.config.n_past or teacher_forcing[step]

    def _known_terms(self, skips: Skips, T: int, B: int) -> list[Skips]:
        """Return the decoder's skip terms, (B, …) each, of steps 0 … T − 2 by the true frames.

        They are those of frame s while it is known and of the last context frame from then on, so
        that most steps share them.
        """
        last = T - 1 if self.config.last_frame_skip else min(self.config.n_past, T - 1)
        terms = self.decoder.skip_terms(tuple(first_rows(skip, last * B) for skip in skips))
        steps = list(zip(*(term.chunk(last) for term in terms)))
        return steps + steps[-1:] * (T - 1 - last)

    def _steps(
        self, vectors: Tensor, z: Tensor, conditions: Tensor, terms: list[Skips], state: SVGState
    ) -> tuple[Tensor, tuple[Tensor, Tensor], SVGState]:
        """Predict S steps at once from the features of their frames before, all of them known.

        vectors (S, B, g), z (S, B, Z), conditions (S, B, K), skip terms of every step → frames
        (S, B, 3, 64, 64), the prior's mu and logvar, the state after.
        """
        S, B = vectors.shape[:2]
        gaussian, prior = self._prior(vectors, conditions, state.prior)
        features, predictor = self.predictor(join(vectors, z, conditions), state.predictor)
        stages = terms[0] if S == 1 else tuple(map(torch.cat, zip(*terms)))  # (S·B, …) each
        predicted = self.decoder(features.flatten(0, 1), stages).unflatten(0, (S, B))
        return predicted, gaussian, state._replace(predictor=predictor, prior=prior)

    def kl_by_step(self, frames: Tensor, conditions: Tensor, previous: Tensor) -> Tensor:
        """KL of the posterior of every true frame to the prior, in nats: (B, T − 1).

        frames (B, T, 3, 64, 64), conditions (B, T, K). The learned prior sees `previous`, what each
        step predicts from: (B, T − 1, 3, 64, 64).
        """
        B = len(frames)
        conditions = self._conditions(conditions.transpose(0, 1)[1:])  # (T-1, B, K)
        state = self._initial_state(B)
        true = self._vectors(frames[:, 1:])
        mu, logvar, _ = self.posterior(join(true, conditions), state.posterior)
        before = true if self.prior is None else self._vectors(previous)
        prior, _ = self._prior(before, conditions, state.prior)
        return kl_by_dimension(mu, logvar, *prior).sum(-1).T

    def _vectors(self, frames: Tensor) -> Tensor:
        """Encode (B, S, 3, 64, 64), time first in the result: (S, B, g)."""
        frames = frames.transpose(0, 1)
        return self.encoder(frames.flatten(0, 1))[0].unflatten(0, frames.shape[:2])

    # -------------------------------------------------------------- prediction

    def encode_conditions(self, conditions: Tensor) -> Tensor:
        """Return the conditions as the LSTMs take them, (B, T, K)."""
        return self._conditions(conditions)

    def initial_state(self, first_frames: Tensor) -> SVGState:
        """Return the state before the first step from context frames (B, 3, 64, 64)."""
        _, skips = self.encoder(first_frames)
        return self._initial_state(len(first_frames), self.decoder.skip_terms(skips))

    def observe(
        self, frame: Tensor, condition: Tensor, state: SVGState, noise: Tensor, known: Tensor
    ) -> SVGState:
        """Take in a step whose next frame is known: z from its posterior, and its skips.

        frame, known (B, 3, 64, 64); condition (B, K); noise (B, Z).
        """
        vector, _ = self.encoder(frame)
        known_vector, skips = self.encoder(known)
        z, state = self._posterior_sample(known_vector, condition, noise, state)
        _, state = self._advance(vector, z, condition, state)
        return state._replace(skips=self.decoder.skip_terms(skips))

    def predict(
        self,
        frame: Tensor,
        condition: Tensor,
        state: SVGState,
        noise: Tensor,
        truth: Tensor | None = None,
    ) -> tuple[Tensor, SVGState]:
        """Predict the next frame, with z from the prior, or the posterior where truth is given.

        frame (B, 3, 64, 64), condition (B, K), noise (B, Z) → frame, state. truth, the next frame,
        serves to look at the posterior (oracle): what comes of it is no prediction.
        """
        vector, own = self.encoder(frame)
        skips = self.decoder.skip_terms(own) if self.config.last_frame_skip else state.skips
        if truth is None:
            gaussian, _ = self._prior(vector[None], condition[None], state.prior)
            z = reparameterize(*(x[0] for x in gaussian), noise)
        else:
            z, state = self._posterior_sample(self.encoder(truth)[0], condition, noise, state)
        features, state = self._advance(vector, z, condition, state)
        return self.decoder(features, skips), state

    def _advance(
        self, vector: Tensor, z: Tensor, condition: Tensor, state: SVGState
    ) -> tuple[Tensor, SVGState]:
        """Move predictor and prior on by one step: the next frame's features (B, g), state."""
        _, prior = self._prior(vector[None], condition[None], state.prior)
        features, predictor = self.predictor(join(vector, z, condition)[None], state.predictor)
        return features[0], state._replace(predictor=predictor, prior=prior)

    def _posterior_sample(
        self, vector: Tensor, condition: Tensor, noise: Tensor, state: SVGState
    ) -> tuple[Tensor, SVGState]:
        mu, logvar, posterior = self.posterior(join(vector, condition)[None], state.posterior)
        return reparameterize(mu[0], logvar[0], noise), state._replace(posterior=posterior)

    # ------------------------------------------------------------------ shared

    def _conditions(self, conditions: Tensor) -> Tensor:
        return conditions[..., :0] if self.config.action_free else conditions

    def _initial_state(self, B: int, skips: Skips = ()) -> SVGState:
        prior = self.prior.initial_state(B) if self.prior else None
        return SVGState(
            skips, self.predictor.initial_state(B), self.posterior.initial_state(B), prior
        )

    def _prior(
        self, vectors: Tensor, conditions: Tensor, state: State | None
    ) -> tuple[tuple[Tensor, Tensor], State | None]:
        """Return mu and logvar of the prior of z, (S, B, Z), from the frames before, and state.

        The learned prior sees what the predictor sees, so the frame to be predicted has no way in.
        """
        if self.prior is None:
            zero = vectors.new_zeros((*vectors.shape[:-1], self.config.z_dim), dtype=torch.float32)
            return (zero, zero), None
        mu, logvar, state = self.prior(join(vectors, conditions), state)
        return (mu, logvar), state


def join(*features: Tensor) -> Tensor:
    """Join along the last dimension."""
    return torch.cat(features, dim=-1)


def first_rows(pictures: Tensor, rows: int) -> Tensor:
    """Take the first of (B, C, H, W), colors last in memory in the gradient as well.

    A plain slice fills its gradient up with zeros that lie the other way, and every sum with it
    would be reordered.
    """
    return pictures.permute(0, 2, 3, 1)[:rows].permute(0, 3, 1, 2)
