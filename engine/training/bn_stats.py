"""Precise BatchNorm: running statistics recomputed before they are used (Wu & Johnson 2021)."""

import contextlib
from collections.abc import Iterator

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from engine.training.non_finite_guard import NonFiniteGuard

BN_STATS_FRAMES = 1024  # from which the statistics are taken


def has_batch_norm(model: nn.Module) -> bool:
    """Tell whether there is anything to recompute."""
    return any(isinstance(layer, _BatchNorm) for layer in model.modules())


@contextlib.contextmanager
def recomputed_bn_stats(model: nn.Module, guard: NonFiniteGuard) -> Iterator[None]:
    """Within the block, forward passes in training mode are what the statistics are taken from.

    Training keeps a mean over its latest steps, by the weights of each. Before a BatchNorm the
    loss does not see where the mean of a channel is, so that it wanders from step to step, fast
    at a high rate and in bf16, and a mean of the past is far from that of now. Training itself
    uses neither, so it goes on as if this had not been called. Statistics that come out not
    finite are not taken, nor those of a block that raises.
    """
    layers = [layer for layer in model.modules() if isinstance(layer, _BatchNorm)]
    before = [(layer.momentum, layer.num_batches_tracked.clone()) for layer in layers]
    guard.remember()
    hooks = [layer.register_forward_pre_hook(_PlainMean()) for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
    taken = layers[0].running_mean.new_zeros((), dtype=torch.bool)
    try:
        yield
        statistics = [x for layer in layers for x in (layer.running_mean, layer.running_var)]
        taken = torch.stack([x.isfinite().all() for x in statistics]).all()
    finally:
        for hook in hooks:
            hook.remove()
        guard.put_back_unless(taken)
        for layer, (momentum, batches) in zip(layers, before):
            layer.momentum = momentum
            layer.num_batches_tracked.copy_(batches)


class _PlainMean:
    """Before each pass of a layer, of which a batch may take several: makes a plain mean of them.

    As `momentum = None` does, which reads its count off the device: the host would wait.
    """

    def __init__(self) -> None:
        self.passes = 0

    def __call__(self, layer: _BatchNorm, inputs: tuple) -> None:
        self.passes += 1
        layer.momentum = 1 / self.passes
