"""BatchNorm over the global batch of several processes."""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from core import distributed


class SyncedBatchNorm(_BatchNorm):
    """BatchNorm whose statistics are those of the global batch; the same parameters and buffers.

    `nn.SyncBatchNorm` is for CUDA alone; this serves both, with one exchange forward and one
    backward. All processes have as many values. In evaluation mode it is BatchNorm.
    """

    def _check_input_dim(self, x: Tensor) -> None:
        """Take whatever the layer that it stands for takes."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or distributed.world_size() == 1:
            return super().forward(x)
        return self._normalize(x)

    def _normalize(self, x: Tensor) -> Tensor:
        dims = [dim for dim in range(x.dim()) if dim != 1]
        shape = [-1 if dim == 1 else 1 for dim in range(x.dim())]
        count = distributed.world_size() * x.numel() // x.shape[1]
        values = x.to(torch.promote_types(x.dtype, torch.float32))
        # Sums of squares would lose digits; means and variances of the parts do not.
        own = torch.stack(torch.var_mean(values, dims, correction=0))  # (2, C)
        place = torch.eye(distributed.world_size(), device=x.device)[distributed.rank()].view(
            -1, 1, 1
        )
        variances, means = distributed.all_reduce_sum(own * place).unbind(1)  # (processes, C) each
        mean = means.mean(0)
        variance = variances.mean(0) + (means - mean).square().mean(0)
        with torch.no_grad():
            self.num_batches_tracked += 1
            weight = self.momentum
            if weight is None:  # a plain mean
                weight = self.num_batches_tracked.to(mean.dtype).reciprocal()
            self.running_mean.lerp_(mean, weight)
            self.running_var.lerp_(variance * (count / (count - 1)), weight)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        result = (values - mean.view(shape)) * scale.view(shape) + self.bias.view(shape)
        return result.to(x.dtype)


def synchronize_batch_norm(model: nn.Module) -> None:
    """Let every BatchNorm of a model take the statistics of the global batch.

    Names of parameters and buffers, and so the checkpoints, stay as they are.
    """
    if distributed.world_size() == 1:
        return
    for parent in model.modules():
        for name, layer in parent.named_children():
            if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
                synced = SyncedBatchNorm(
                    layer.num_features, layer.eps, layer.momentum, device="meta"
                )
                synced._parameters, synced._buffers = layer._parameters, layer._buffers
                # An exchange cannot be part of a compiled graph. Said here and not by a decorator,
                # which would import the compiler, over a second, in every script.
                synced._normalize = torch.compiler.disable(synced._normalize)
                synced.train(layer.training)
                setattr(parent, name, synced)
