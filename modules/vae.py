"""The dance model: a conditional VAE that predicts a frame from the frame before and a pose.

Dimensions: B batch, T frames of a window, H×W frame size, 3 colors; F frame features,
L pose features, N latent channels, D fused features. Frames and poses lie in [0, 1]. With several
scales the features of a frame are one vector instead of a map (`modules/multiscale.py`).
The method and its symbols are derived in docs/method.md.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss, pixel_shuffle, pixel_unshuffle

from modules import multiscale
from modules.gaussian import kl_by_dimension, kl_criterion
from modules.modules import (
    Decoder_Fusion,
    Gaussian_Predictor,
    Generator,
    Label_Encoder,
    RGB_Encoder,
)

KL_CHUNK = 64  # frames whose posterior is computed at a time, which bounds the memory
OUTPUT_ACTIVATIONS = {
    "sigmoid": torch.sigmoid,
    "clamp": lambda x: x.clamp(0.0, 1.0),
    "none": lambda x: x,
}


@dataclass(frozen=True)
class CVAEConfig:
    """What the weights of a `CVAE` mean: widths, frame size, output. Stored in checkpoints."""

    F_dim: int = 128
    L_dim: int = 32
    N_dim: int = 12
    D_out_dim: int = 192
    frame_H: int = 32
    frame_W: int = 64
    output_activation: str = "sigmoid"
    patch_size: int = 1
    positional_bias: bool = False
    scales: int = 1

    @classmethod
    def from_settings(cls, settings) -> "CVAEConfig":
        """Take the fields of this class from any object that has them as attributes.

        None, where nobody has said, is the default.
        """
        given = {name: getattr(settings, name) for name in cls.__dataclass_fields__}
        return cls(**{name: value for name, value in given.items() if value is not None})

    @staticmethod
    def widths_of(state_dict: Mapping[str, Tensor]) -> dict[str, int]:
        """Read the four widths off the weights of a lab checkpoint, which holds no settings.

        Raises KeyError where a network's last layer is missing.
        """
        return {
            "F_dim": state_dict["frame_transformation.6.weight"].shape[0],
            "L_dim": state_dict["label_transformation.4.conv1.weight"].shape[0],
            "N_dim": state_dict["Gaussian_Predictor.6.weight"].shape[0] // 2,
            "D_out_dim": state_dict["Decoder_Fusion.5.weight"].shape[0],
        }


class CVAE(nn.Module):
    """The five networks of the lab behind the project's contract for training and prediction.

    The engine calls the model to train; `encode_conditions`, `initial_state` and `predict` to roll
    out; `latent_shape` to draw the noise that both take as an argument.

    cauchy_scale: in training a frame's squared error far above it counts by its logarithm (the
    Cauchy loss); 0: as it is.
    """

    sums_steps = False  # the loss is a mean over the steps of a window

    def __init__(self, config: CVAEConfig, *, cauchy_scale: float = 0.0):
        super().__init__()
        F, L, N, D = config.F_dim, config.L_dim, config.N_dim, config.D_out_dim
        colors = 3 * config.patch_size**2  # C' below
        self.config, self.cauchy_scale = config, cauchy_scale
        if config.scales == 1:
            self.frame_transformation = RGB_Encoder(colors, F)
            self.label_transformation = Label_Encoder(colors, L)
            self.Gaussian_Predictor = Gaussian_Predictor(F + L, N)
            self.Decoder_Fusion = Decoder_Fusion(F + L + N, D)
            self.Generator = Generator(D, colors)
            pose_shape = (L, *self.latent_shape[1:])
        else:
            grid = config.frame_H // config.patch_size, config.frame_W // config.patch_size
            frames, poses = (multiscale.Pyramid(C, grid, config.scales) for C in (F, L))
            self.frame_transformation = multiscale.Frame_Encoder(colors, frames)
            self.label_transformation = multiscale.Pose_Encoder(colors, poses)
            self.Gaussian_Predictor = multiscale.Posterior(frames, poses, N)
            self.Decoder_Fusion = multiscale.Fusion(frames, poses, N, D)
            self.Generator = multiscale.Multiscale_Generator(frames, poses, D, colors)
            pose_shape = (poses.size,)
        # What no pose tells and every frame shares, such as the room: a learned positional bias on
        # the pose features. Its name is part of the checkpoint format.
        bias = torch.zeros(pose_shape) if config.positional_bias else None
        self.scene = nn.Parameter(bias) if bias is not None else None

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Shape of the noise for one frame: (N, H/P, W/P), or on the coarsest grid of several."""
        P = self.config.patch_size << (self.config.scales - 1)
        return self.config.N_dim, self.config.frame_H // P, self.config.frame_W // P

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
        """MSE + β·KL over the T − 1 predictions of each window, and the metrics to log.

        batch: frames and conditions (the poses), (B, T, 3, H, W) each. teacher_forcing: T − 1
        flags; step t predicts from the true frame where flag t is set, from its own prediction
        elsewhere. noise: (B, T − 1, N, H, W).
        bptt: how many transitions from prediction to prediction a gradient may pass
        (truncated backpropagation in runs of bptt + 1 steps; 0 detaches every prediction).
        previous: frames to predict all steps from, (B, T − 1, 3, H, W), whatever the flags say.

        MSE is the mean over pixels; KL is summed over the latent and divided by the batch; both
        are averaged over the steps. Metrics are detached scalars on the device of the model; the
        last result are the detached predictions, (B, T − 1, 3, H, W).
        """
        frames, poses = batch.frames, batch.conditions
        B, T = frames.shape[:2]
        # Time leads from here on, so that one step is one contiguous block.
        frames, poses, noise = (x.transpose(0, 1) for x in (frames, poses, noise))
        # In patches the mean squared error is the same, so nothing is put together until the end.
        frames, poses = self._to_patches(frames), self._to_patches(poses[1:])
        targets = frames[1:]  # (T-1, B, C', H/P, W/P)

        # What no prediction enters is computed for all steps at once: BatchNorm then sees all
        # B·(T-1) poses, and each true frame is encoded once although two steps use it.
        pose_features = self._encode_poses(poses.flatten(0, 1))
        if previous is None:
            features = self.frame_transformation(frames.flatten(0, 1))  # (T·B, F, H/P, W/P)
            previous_features, current_features = features[:-B], features[B:]
        else:
            previous = self._to_patches(previous.transpose(0, 1))
            both = torch.cat([previous, targets]).flatten(0, 1)
            previous_features, current_features = self.frame_transformation(both).chunk(2)
        z, mu, logvar = self.Gaussian_Predictor(
            current_features, pose_features, noise.flatten(0, 1)
        )  # ((T-1)·B, N, H/P, W/P) each

        if previous is not None or all(teacher_forcing):
            predictions = self.decode(previous_features, pose_features, z)
        else:
            previous_features, pose_features, z = (
                x.unflatten(0, (-1, B)) for x in (previous_features, pose_features, z)
            )
            steps: list[Tensor] = []
            for t in range(T - 1):
                if t == 0 or teacher_forcing[t]:
                    features = previous_features[t]
                else:
                    before = steps[-1]
                    if t % (bptt + 1) == 0:
                        before = before.detach()
                    features = self.frame_transformation(before)
                steps.append(self.decode(features, pose_features[t], z[t]))
            predictions = torch.cat(steps)  # ((T-1)·B, 3, H, W)

        targets = targets.flatten(0, 1).float()
        mse = reconstruction = mse_loss(predictions, targets)
        if scale := self.cauchy_scale:
            errors = (predictions - targets).square().flatten(1).mean(1)  # by frame
            reconstruction = scale * (errors / scale).log1p().mean()
        kl = kl_criterion(mu, logvar, B) / (T - 1)
        loss = reconstruction + kl_beta * kl
        # With unit variance: log p(x | z, c) = -½·|x - x̂|² up to a constant. Nats per frame.
        elbo = -0.5 * mse * targets[0].numel() - kl
        metrics = {"loss": loss, "mse": mse, "kl": kl, "elbo": elbo}
        metrics = {name: value.detach() for name, value in metrics.items()}
        predicted = pixel_shuffle(predictions.detach(), self.config.patch_size)
        return loss, metrics, predicted.unflatten(0, (T - 1, B)).transpose(0, 1)

    def kl_by_step(self, frames: Tensor, conditions: Tensor, previous: Tensor) -> Tensor:
        """KL of the posterior of every true frame to the prior, in nats: (B, T − 1).

        Frames and poses (B, T, 3, H, W). What a step predicts from, `previous`, does not matter to
        a prior that is N(0, I).
        """
        B, T = frames.shape[:2]
        pairs = (
            self._to_patches(x[:, 1:].flatten(0, 1)).split(KL_CHUNK) for x in (frames, conditions)
        )
        found = []
        for true, poses in zip(*pairs):
            zero = torch.zeros((), device=true.device)  # the noise, and the prior's mu and logvar
            _, mu, logvar = self.Gaussian_Predictor(
                self.frame_transformation(true), self._encode_poses(poses), zero
            )
            found.append(kl_by_dimension(mu, logvar, zero, zero).flatten(1).sum(1))
        return torch.cat(found).unflatten(0, (B, T - 1))

    # -------------------------------------------------------------- prediction

    def encode_conditions(self, poses: Tensor) -> Tensor:
        """Features of pose images, computed once a rollout: (B, T, 3, H, W) → (B, T, L, H, W).

        Of several scales (B, T, K), as `modules/multiscale.py` has them.
        """
        B, T = poses.shape[:2]
        return self._encode_poses(self._to_patches(poses.flatten(0, 1))).unflatten(0, (B, T))

    def initial_state(self, first_frames: Tensor) -> None:
        """The state before the first prediction. This model has none beside the frame itself."""
        return None

    def observe(
        self, frame: Tensor, condition: Tensor, state: None, noise: Tensor, known: Tensor
    ) -> None:
        """The state after a step whose next frame is known: there is none."""
        return state

    def predict(
        self,
        frame: Tensor,
        condition: Tensor,
        state: None,
        noise: Tensor,
        truth: Tensor | None = None,
    ) -> tuple[Tensor, None]:
        """Predict the next frame from the one before, with z = `noise`, a sample of the prior.

        frame (B, 3, H, W), condition (B, L, H, W) from `encode_conditions`, noise (B, N, H, W)
        → frame (B, 3, H, W), state. truth, the next frame, makes z a sample of the posterior: to
        look at it (oracle), for what comes of it is no prediction.
        """
        z = noise
        if truth is not None:
            seen = self.frame_transformation(self._to_patches(truth))
            z, _, _ = self.Gaussian_Predictor(seen, condition, noise)
        features = self.frame_transformation(self._to_patches(frame))
        return pixel_shuffle(self.decode(features, condition, z), self.config.patch_size), state

    def _encode_poses(self, poses: Tensor) -> Tensor:
        features = self.label_transformation(poses)  # (B, L, H/P, W/P)
        return features if self.scene is None else features + self.scene.to(features.dtype)

    def _to_patches(self, pictures: Tensor) -> Tensor:
        """Space to depth, colors last in memory: (…, 3, H, W) → (…, C', H/P, W/P), C' = 3·P²."""
        if self.config.patch_size == 1:
            return pictures
        flat = pixel_unshuffle(pictures.flatten(0, -4), self.config.patch_size)
        flat = flat.contiguous(memory_format=torch.channels_last)
        return flat.unflatten(0, pictures.shape[:-3])

    def decode(self, frame_features: Tensor, pose_features: Tensor, z: Tensor) -> Tensor:
        fused = self.Decoder_Fusion(frame_features, pose_features, z)  # (B, D, H, W)
        frame = self.Generator(fused).float()  # (B, 3, H, W)
        return OUTPUT_ACTIVATIONS[self.config.output_activation](frame)
