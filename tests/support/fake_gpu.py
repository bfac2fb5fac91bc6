"""A GPU that computes nothing: tensors on `cuda` that have shapes and devices, but no values.

What needs a driver is stood in for: moving modules, backward passes, LSTMs, pinned memory, the
questions of autocast. A value that is read, and an operation on tensors of two devices, raise.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.utils import clip_grad

from core import distributed
from core.device import Compute
from tests.support.launches import Launches

GPU = torch.device("cuda", 0)


@dataclass
class FakeGPU:
    """The memory that is pinned; `launches()` counts."""

    mode: FakeTensorMode
    pinned: list[Tensor] = field(default_factory=list)

    def launches(self) -> Launches:
        self.pinned.clear()
        return Launches(self.pinned)

    def put(self, module: nn.Module) -> nn.Module:
        """Return the module with its weights there."""
        for owner in module.modules():
            for name, p in owner._parameters.items():
                if p is not None:
                    owner._parameters[name] = nn.Parameter(self._like(p), p.requires_grad)
            for name, buffer in owner._buffers.items():
                owner._buffers[name] = self._like(buffer)
        return module

    def _like(self, x: Tensor) -> Tensor:
        return torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device=GPU)


@contextlib.contextmanager
def fake_gpu(monkeypatch) -> Iterator[FakeGPU]:
    """Within the block there is such a GPU, and everything on the host is real still."""
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        gpu = FakeGPU(mode)

        def pin(x: Tensor) -> Tensor:
            gpu.pinned.append(x)
            return x

        def move(module: nn.Module, *args, **kwargs) -> nn.Module:
            return gpu.put(module)

        def backward(loss: Tensor) -> None:
            assert loss.requires_grad
            for p in backward.model.parameters():
                p.grad = torch.empty_like(p)

        def numpy(x: Tensor) -> np.ndarray:
            assert not x.is_cuda
            return np.zeros(x.shape)

        def lstm(network: nn.LSTM, inputs: Tensor, state: tuple) -> tuple[Tensor, tuple]:
            return inputs.new_empty(*inputs.shape[:2], network.hidden_size), state

        def prepare(compute: Compute, model: nn.Module) -> nn.Module:
            backward.model = model
            return gpu.put(model)

        monkeypatch.setattr(clip_grad, "_has_foreach_support", lambda *_: True)
        monkeypatch.setattr(Tensor, "pin_memory", pin)
        monkeypatch.setattr(Tensor, "numpy", numpy)
        monkeypatch.setattr(nn.Module, "to", move)
        monkeypatch.setattr(nn.LSTM, "forward", lstm)
        monkeypatch.setattr(Compute, "prepare", prepare)
        monkeypatch.setattr(distributed, "backward", backward)
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1 << 34, 1 << 35))
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_, **__: True)
        monkeypatch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
        yield gpu
