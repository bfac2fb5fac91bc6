"""Operations counted as a GPU would be given them, and what would make its host wait.

Most operations are one launch or a few; views and allocations are none. Lists of tensors count as
one. What is counted are the operations that PyTorch dispatches, with those of the backward pass on
a CPU, and on a device that is stood in for (`tests/support/fake_gpu.py`) without them.
"""

from collections import Counter

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

NO_LAUNCH = {"empty", "empty_strided", "empty_like", "new_empty", "new_empty_strided", "device"}
NO_LAUNCH |= {"lift_fresh", "_unsafe_view", "detach", "is_pinned", "_pin_memory", "set_", "resize_"}
NO_LAUNCH |= {"_record_function_enter_new", "_record_function_exit"}
COPIES = {"_to_copy", "to", "copy_", "_foreach_copy_"}  # `to`: in inference mode


class Launches(TorchDispatchMode):
    """Counts within the block; `casts` are those to bf16, `waits` and `sent` tell of transfers.

    A wait is a value read by the host, a copy to it, or one from it that is not of pinned memory.
    Operations on tensors of both devices at once raise AssertionError.
    """

    def __init__(self, pinned: list[Tensor] | None = None):
        super().__init__()
        self.by_name: Counter[str] = Counter()
        self.casts = 0
        self.sent: list[str] = []  # copies from pinned memory
        self.waits: list[str] = []
        self._pinned = [] if pinned is None else pinned

    @property
    def count(self) -> int:
        """How many operations there were."""
        return self.by_name.total()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = function.name().split("::")[1].split(".")[0]
        given = [x for x in tree_leaves((args, kwargs)) if torch.is_tensor(x)]
        on_gpu = any(x.is_cuda for x in given)
        if name == "_local_scalar_dense" and on_gpu:
            self.waits.append("a value read")
        if name not in COPIES and on_gpu and any(x.device.type == "cpu" and x.dim() for x in given):
            raise AssertionError(f"{name} of tensors on both devices")
        if not (function.is_view or name in NO_LAUNCH):
            self.by_name[name] += 1
            to_bf16 = kwargs.get("dtype") == torch.bfloat16
            self.casts += name == "_to_copy" and to_bf16
        if on_gpu and name.startswith("_fused_adam"):  # which works in place, and needs a driver
            return None
        result = function(*args, **kwargs)
        if name in COPIES:
            pairs = [(args[0], result)] if name in ("_to_copy", "to") else [args[1::-1]]
            pairs = zip(*pairs[0]) if name == "_foreach_copy_" else pairs
            goes_on = kwargs.get("non_blocking", False) or any(x is True for x in args[1:])
            for source, target in pairs:
                self._transfer(source, target, goes_on)
        return result

    def _transfer(self, source: Tensor, target: Tensor, goes_on: bool) -> None:
        crossing = (source.device.type, target.device.type)
        size = f"{tuple(source.shape)} {str(source.dtype).split('.')[1]}"
        if crossing == ("cuda", "cpu"):
            self.waits.append(f"{size} to the host")
        elif crossing == ("cpu", "cuda"):
            if goes_on and any(source is pinned for pinned in self._pinned):
                self.sent.append(size)
            else:
                self.waits.append(f"{size} from pageable memory")
