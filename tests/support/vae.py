"""Tiny CVAEs, with windows and clips of noise."""

import numpy as np
import torch

from data.types import Clip
from modules.vae import CVAE, CVAEConfig

H, W, N = 6, 8, 4


def make_model(seed=0, output_activation="sigmoid"):
    """A tiny CVAE whose pictures have contrast and whose posterior is not the prior."""
    torch.manual_seed(seed)
    config = CVAEConfig(8, 4, N, 8, H, W, output_activation=output_activation)
    model = CVAE(config)
    with torch.no_grad():
        model.Gaussian_Predictor[-1].weight.mul_(3)
        model.label_transformation[2].running_mean.uniform_(-0.3, 0.3)
        model.label_transformation[2].running_var.uniform_(0.02, 0.1)
        frame, pose = torch.rand(2, 64, 3, H, W)
        frame, pose = model.frame_transformation(frame), model.label_transformation.eval()(pose)
        fused = model.Decoder_Fusion(frame, pose, torch.randn(64, N, H, W))
        last = model.Generator[-1]
        predicted = model.Generator(fused)
        last.weight.div_(predicted.std((0, 2, 3))[:, None, None, None])
        last.bias.sub_(predicted.mean((0, 2, 3))).div_(predicted.std((0, 2, 3)))
    return model.train()


def make_batch(B, T, seed=1):
    generator = torch.Generator().manual_seed(seed)
    frames, poses = torch.rand(2, B, T, 3, H, W, generator=generator)
    return frames, poses, torch.randn(B, T - 1, N, H, W, generator=generator)


def make_clips(lengths, seed=2):
    rng = np.random.default_rng(seed)
    pictures = [rng.integers(0, 256, (2, n, 3, H, W), dtype=np.uint8) for n in lengths]
    return [Clip(str(k), *torch.from_numpy(pair)) for k, pair in enumerate(pictures)]


def tiny(**fields) -> CVAE:
    torch.manual_seed(0)
    return CVAE(CVAEConfig(F_dim=8, L_dim=2, N_dim=4, D_out_dim=8, **fields))


def window_inputs(model: CVAE, B: int = 3, T: int = 4) -> dict:
    generator = torch.Generator().manual_seed(1)
    shape = (B, T, 3, model.config.frame_H, model.config.frame_W)
    frames, poses = (torch.rand(shape, generator=generator) for _ in range(2))
    noise = torch.randn(B, T - 1, *model.latent_shape, generator=generator)
    return {"frames": frames, "conditions": poses, "noise": noise, "kl_beta": 0.01}
