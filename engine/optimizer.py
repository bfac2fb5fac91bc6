"""The optimizer that the flags ask for."""

from argparse import Namespace

import torch
from torch import nn

from engine.muon import Muon


def make_optimizer(model: nn.Module, settings: Namespace) -> torch.optim.Optimizer:
    """Return the optimizer of `--optim`; Adam and AdamW in their fused form."""
    decay = settings.weight_decay
    if decay is None:
        decay = 0.01 if settings.optim in ("AdamW", "Muon") else 0.0
    arguments = {"lr": settings.lr, "weight_decay": decay}
    betas = (settings.beta1, 0.999)
    match settings.optim:
        case "Adam":
            return torch.optim.Adam(model.parameters(), betas=betas, fused=True, **arguments)
        case "AdamW":
            return torch.optim.AdamW(model.parameters(), betas=betas, fused=True, **arguments)
        case "Muon":
            return Muon(model.parameters(), **arguments)
        case "RMSprop":
            return torch.optim.RMSprop(model.parameters(), **arguments)
    raise ValueError(f"unknown optimizer {settings.optim!r}")
