"""Muon: steps whose size is the same in every direction a layer can turn (Jordan et al. 2024).

Adam scales each weight by itself. Muon takes the momentum of a layer for the matrix it is, from
all inputs of a position to its outputs, and makes it orthogonal: directions that the gradient
shows rarely are learned as fast as those it shows always. What is no matrix to speak of (biases,
norms, depthwise kernels, layers of few channels, the positional bias) is left to torch's AdamW, in
the same object.

There are two forms of a step with the same result. On a CPU matrices of one shape are a batch. On
a GPU the host does not wait and launches count: the rate may be a tensor, a step that is not finite
is masked, and matrices are filled up with zeros to few shapes.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.adamw import adamw

from engine.training.newton_schulz import orthogonal, shared_shapes
from engine.training.tensor_lists import where_each

LEAST = 8  # rows and columns from which a layer's weights are a matrix
UPDATE_RMS = 0.2  # of Adam's steps, so that one learning rate serves both (Liu et al. 2025)
MOMENTUM = 0.95
BETAS = (0.9, 0.999)
EPSILON = 1e-8


class Muon(Optimizer):
    """Muon for the matrices among the parameters, AdamW for the others; decay is decoupled.

    betas are AdamW's; as they are no state of a group, a checkpoint does not bring them along.
    masked: take the form for GPUs; by default where the parameters are on one. Steps then
    heed `found_inf`, a tensor: where it is not 0 they change nothing.
    """

    found_inf: Tensor | None = None

    def __init__(
        self,
        parameters,
        lr: float | Tensor,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = BETAS,
        masked: bool | None = None,
    ):
        self.betas = betas
        parameters = list(parameters)
        self.masked = any(p.is_cuda for p in parameters) if masked is None else masked
        self._batches: list[SharedBatch] = []
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
        self,
        parameters: list[nn.Parameter],
        gradients: list[Tensor],
        lr: float | Tensor,
        decay: float,
    ):
        momentum = self._state(parameters, "momentum")
        if self.masked and self.found_inf is not None:
            finite = self.found_inf == 0
            # The mean of the momentum with itself, and a rate of 0: nothing changes.
            gradients = where_each(finite, gradients, momentum)
            lr = finite * lr
        torch._foreach_mul_(parameters, 1 - lr * decay)
        torch._foreach_lerp_(momentum, gradients, 1 - MOMENTUM)
        ahead = torch._foreach_lerp(gradients, momentum, MOMENTUM)  # Nesterov's look ahead
        update = self._update_in_few_shapes if self.masked else self._update_by_shape
        update(parameters, ahead, lr)

    def _update_by_shape(self, parameters: list[nn.Parameter], ahead: list[Tensor], lr: float):
        """Step along the orthogonal factors, those of matrices of one shape as one batch."""
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

    def _update_in_few_shapes(
        self, parameters: list[nn.Parameter], ahead: list[Tensor], lr: float | Tensor
    ):
        """Do the same with matrices that are filled up with zeros to share a batch."""
        known = sum(len(b.numbers) for b in self._batches if b.sizes.device == parameters[0].device)
        if known != len(parameters):
            self._batches = batches_of(parameters)
        for batch in self._batches:
            padded = batch.sizes.new_zeros(len(batch.numbers), *batch.shape)
            places = batch.places(padded, parameters)
            torch._foreach_copy_(places, [ahead[number] for number in batch.numbers])
            steps = orthogonal(padded).mul_(batch.sizes * lr)
            places = batch.places(steps, parameters)
            torch._foreach_sub_([parameters[number] for number in batch.numbers], places)

    def _adamw_step(
        self,
        parameters: list[nn.Parameter],
        gradients: list[Tensor],
        lr: float | Tensor,
        decay: float,
    ):
        means, squares = (self._state(parameters, name) for name in ("exp_avg", "exp_avg_sq"))
        adamw(
            parameters,
            gradients,
            means,
            squares,
            [],
            self._step_counts(parameters),
            foreach=not self.masked,
            fused=self.masked,
            found_inf=self.found_inf if self.masked else None,
            amsgrad=False,
            beta1=self.betas[0],
            beta2=self.betas[1],
            lr=lr,
            weight_decay=decay,
            eps=EPSILON,
            maximize=False,
        )

    def _step_counts(self, parameters: list[nn.Parameter]) -> list[Tensor]:
        """Return how many steps were taken; on the host where that is what computes."""
        counts = self._state(parameters, "step", lambda _: torch.zeros(()))
        home = parameters[0].device if self.masked else torch.device("cpu")
        if counts[0].device != home:  # new, from a checkpoint, or moved
            for parameter, count in zip(parameters, counts):
                self.state[parameter]["step"] = count.to(home)
        return self._state(parameters, "step")

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


@dataclass(frozen=True)
class SharedBatch:
    """Matrices that are pushed together: the numbers of their parameters, and what they share."""

    numbers: list[int]
    shape: tuple[int, int]  # that all of them are filled up to
    sizes: Tensor  # (K, 1, 1) of a step at a rate of 1

    def places(self, matrices: Tensor, parameters: list[nn.Parameter]) -> list[Tensor]:
        """Return where in (K, m, n) each parameter's matrix stands, as views of its shape."""
        views = []
        for matrix, number in zip(matrices, self.numbers):
            outputs, inputs = (shape := parameters[number].shape)[0], math.prod(shape[1:])
            is_wide = outputs <= inputs
            view = matrix[:outputs, :inputs] if is_wide else matrix[:inputs, :outputs].mT
            views.append(view.unflatten(1, shape[1:]))
        return views


def batches_of(parameters: list[nn.Parameter]) -> list[SharedBatch]:
    """Return the batches in which the matrices of these parameters are pushed."""
    shapes = [tuple(sorted((p.shape[0], p[0].numel()))) for p in parameters]
    shared, numbers = shared_shapes(shapes), {}
    for number, shape in enumerate(shapes):
        numbers.setdefault(shared[shape], []).append(number)
    batches = []
    for shape, own in numbers.items():
        sizes = [UPDATE_RMS * math.sqrt(shapes[number][1]) for number in own]
        sizes = torch.tensor(sizes, device=parameters[0].device).view(-1, 1, 1)
        batches.append(SharedBatch(own, shape, sizes))
    return batches
