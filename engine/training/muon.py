"""Muon: steps whose size is the same in every direction a layer can turn (Jordan et al. 2024).

Adam scales each weight by itself. Muon takes the momentum of a layer for the matrix it is, from
all inputs of a position to its outputs, and makes it orthogonal: directions that the gradient
shows rarely are learned as fast as those it shows always. What is no matrix to speak of (biases,
norms, depthwise kernels, layers of few channels, the positional bias) is left to torch's AdamW, in
the same object.
"""

import math

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.adamw import adamw

QUINTIC = (3.4445, -4.7750, 2.0315)  # of Jordan et al.: singular values from (0, 1] to about 1
ITERATIONS = 5
LEAST = 8  # rows and columns from which a layer's weights are a matrix
UPDATE_RMS = 0.2  # of Adam's steps, so that one learning rate serves both (Liu et al. 2025)
MOMENTUM = 0.95
BETAS = (0.9, 0.999)
EPSILON = 1e-8


class Muon(Optimizer):
    """Muon for the matrices among the parameters, AdamW for the others; decay is decoupled.

    betas are AdamW's; as they are no state of a group, a checkpoint does not bring them along.
    """

    def __init__(
        self, parameters, lr: float, weight_decay: float = 0.0, betas: tuple[float, float] = BETAS
    ):
        self.betas = betas
        parameters = list(parameters)
        groups = [
            {"params": [p for p in parameters if is_matrix(p) == wanted], "muon": wanted}
            for wanted in (True, False)
        ]
        super().__init__(
            [g for g in groups if g["params"]], {"lr": lr, "weight_decay": weight_decay}
        )

    @torch.no_grad()
    def step(self, closure=None) -> None:
        """Take one step. `closure` is part of the interface and not supported."""
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if not parameters:
                continue
            step = self._muon_step if group["muon"] else self._adamw_step
            gradients = [p.grad for p in parameters]
            step(parameters, gradients, group["lr"], group["weight_decay"])

    def _muon_step(
        self, parameters: list[nn.Parameter], gradients: list[Tensor], lr: float, decay: float
    ):
        torch._foreach_mul_(parameters, 1 - lr * decay)
        momentum = self._state(parameters, "momentum")
        torch._foreach_lerp_(momentum, gradients, 1 - MOMENTUM)
        ahead = torch._foreach_lerp(gradients, momentum, MOMENTUM)  # Nesterov's look ahead
        by_shape: dict[tuple[int, ...], list[tuple[nn.Parameter, Tensor]]] = {}
        for parameter, update in zip(parameters, ahead):
            matrix = update.flatten(1)
            wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.mT
            by_shape.setdefault(tuple(wide.shape), []).append((parameter, wide))
        for shape, pairs in by_shape.items():
            turned = orthogonal(torch.stack([wide for _, wide in pairs]))
            size = lr * UPDATE_RMS * math.sqrt(shape[1])
            for (parameter, _), wide in zip(pairs, turned):
                same = parameter.shape[0] == shape[0]
                parameter.sub_((wide if same else wide.mT).reshape(parameter.shape), alpha=size)

    def _adamw_step(
        self, parameters: list[nn.Parameter], gradients: list[Tensor], lr: float, decay: float
    ):
        means, squares = (self._state(parameters, name) for name in ("exp_avg", "exp_avg_sq"))
        adamw(
            parameters,
            gradients,
            means,
            squares,
            [],
            self._state(parameters, "step", lambda _: torch.zeros(())),
            foreach=True,
            amsgrad=False,
            beta1=self.betas[0],
            beta2=self.betas[1],
            lr=lr,
            weight_decay=decay,
            eps=EPSILON,
            maximize=False,
        )

    def _state(self, parameters: list[nn.Parameter], name: str, start=torch.zeros_like):
        for parameter in parameters:
            if name not in self.state[parameter]:
                self.state[parameter][name] = start(parameter)
        return [self.state[parameter][name] for parameter in parameters]


def is_matrix(parameter: Tensor) -> bool:
    """Tell whether a layer's weights are taken for a matrix, (outputs, inputs · kernel)."""
    if parameter.ndim not in (2, 4) or parameter.shape[1] == 1:  # 1: depthwise
        return False
    return min(parameter.shape[0], parameter[0].numel()) >= LEAST


def orthogonal(matrices: Tensor) -> Tensor:
    """Push all singular values of (K, m, n), m ≤ n, to about 1, their directions as they are.

    A few steps of an odd polynomial (Newton and Schulz), which need products of matrices only.
    """
    a, b, c = QUINTIC
    x = matrices / (torch.linalg.matrix_norm(matrices, keepdim=True) + 1e-7)
    for _ in range(ITERATIONS):
        square = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return x
