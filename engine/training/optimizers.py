"""The optimizer that the flags ask for, and its state from a checkpoint."""

from argparse import Namespace

import torch
from torch import Tensor, nn

from engine.checkpoints.schema import is_finite, is_number
from engine.training.muon import Muon

ADAM = {"step", "exp_avg", "exp_avg_sq"}
STATES: dict[type, list[set[str]]] = {  # what an optimizer keeps of a parameter
    torch.optim.Adam: [ADAM],
    torch.optim.AdamW: [ADAM],
    torch.optim.RMSprop: [{"step", "square_avg"}],
    Muon: [{"momentum"}, ADAM],
}
MEANS = ("exp_avg", "momentum")  # of either sign, as gradients are


def make_optimizer(model: nn.Module, settings: Namespace) -> torch.optim.Optimizer:
    """Return the optimizer of `--optim`; Adam and AdamW in their fused form.

    On CUDA the rate is a tensor there, which a recorded step reads; but for RMSprop, for whose
    steps the host waits.
    """
    optimizer = _make(model, settings)
    suit(optimizer, next(model.parameters()).device)
    return optimizer


def suit(optimizer: torch.optim.Optimizer, device: torch.device) -> None:
    """Have an optimizer of ours step as its device asks for, where its weights lie now."""
    is_cuda = device.type == "cuda"
    if isinstance(optimizer, Muon):
        optimizer.masked = is_cuda
    for group in optimizer.param_groups:
        if is_cuda and heeds_found_inf(optimizer):
            group["lr"] = torch.tensor(float(group["lr"]), device=device)
        else:
            group["lr"] = float(group["lr"])


def _make(model: nn.Module, settings: Namespace) -> torch.optim.Optimizer:
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
            return Muon(model.parameters(), betas=betas, **arguments)
        case "RMSprop":
            return torch.optim.RMSprop(model.parameters(), **arguments)
    raise ValueError(f"unknown optimizer {settings.optim!r}")


def heeds_found_inf(optimizer: torch.optim.Optimizer) -> bool:
    """Tell whether its steps change nothing where its `found_inf`, a tensor, is not 0."""
    return bool(optimizer.defaults.get("fused")) or getattr(optimizer, "masked", False)


def set_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of the next step; a tensor stays the one it is."""
    for group in optimizer.param_groups:
        if torch.is_tensor(group["lr"]):
            group["lr"].fill_(lr)
        else:
            group["lr"] = lr


def plain_state(optimizer: torch.optim.Optimizer) -> dict:
    """Return the optimizer's state as it is stored, with rates as plain numbers."""
    state = optimizer.state_dict()
    groups = [group | {"lr": float(group["lr"])} for group in state["param_groups"]]
    return state | {"param_groups": groups}


def load_state(optimizer: torch.optim.Optimizer, stored: dict) -> None:
    """Take the moments, step counts and rate of a checkpoint; all else stays as it is set.

    The rate is that of the step before: an epoch may end, and be saved, before the next.
    Raises ValueError where they are not those of the optimizer's parameters.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    states, own = stored.get("state"), optimizer.state_dict()
    if not isinstance(states, dict) or not states.keys() <= set(range(len(parameters))):
        raise ValueError("the optimizer has other parameters")
    for index, state in states.items():
        _check_state(state, parameters[index], STATES.get(type(optimizer)))
    optimizer.load_state_dict(own | {"state": states})
    for group, before in zip(optimizer.param_groups, stored["param_groups"]):
        if not is_number(before["lr"], low=0):
            raise ValueError(f"a learning rate of {before['lr']!r}")
        is_tensor = torch.is_tensor(group["lr"])
        group["lr"] = group["lr"].fill_(before["lr"]) if is_tensor else float(before["lr"])


def _check_state(state: dict, parameter: Tensor, known: list[set[str]] | None) -> None:
    """Raise ValueError where this is not the state of a parameter; known: None where it is not."""
    if not isinstance(state, dict) or (known is not None and state.keys() not in known):
        raise ValueError(f"the optimizer stores {state if state is None else list(state)}")
    for name, value in state.items():
        shape = () if name == "step" else parameter.shape
        if not torch.is_tensor(value) or value.shape != shape or not value.is_floating_point():
            raise ValueError(f"{name} of the optimizer does not fit its parameter")
        signed = known is None or name in MEANS
        if not is_finite(value) or (not signed and (value < 0).any()):
            raise ValueError(f"{name} of the optimizer is out of range")
