"""Several processes as one run: the one file that knows process groups.

`torchrun` starts the processes and tells each its place by environment variables. What is asked
here has an answer without it too: a world of one, in which nothing is exchanged.

Gradients are averaged by `DistributedDataParallel`, during the backward pass. It is told to look
for unused parameters, because with that its reducer keeps the buckets it began with; otherwise it
lays them out anew after the first step it sees, and a resumed run would add in another order than
one that never stopped. A test counts the rebuilds. What this costs: docs/scaling.md.

Exchanges are matched by their order, which must be the same in all processes: the reducer's and
those of `SyncedBatchNorm` share a group and mix during the backward pass. That holds because all
processes build the same graph, and autograd goes through equal graphs in the same order.
"""

import contextlib
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from core.errors import UserError

T = TypeVar("T")
TOLD_BY_TORCHRUN = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
PATIENCE = timedelta(days=1)  # of processes that wait while one decodes; a death is noticed at once

_patient: Any = None  # the group in which the hosts talk


@contextlib.contextmanager
def joined() -> Iterator[None]:
    """Join the processes that `torchrun` started: nccl between GPUs, gloo between CPUs.

    Only the first prints meanwhile. Does nothing for a process on its own.
    """
    global _patient
    if not _launched() or int(os.environ["WORLD_SIZE"]) == 1:
        yield
        return
    cuda = torch.cuda.is_available()
    if cuda:  # where there are too few, `--device` is refused later
        torch.cuda.set_device(local_rank() % torch.cuda.device_count())
    with _noticing_losses():
        store, rank, processes = next(dist.rendezvous("env://"))
        # Its server outlives a restart, and so would the addresses of the processes before.
        attempt = f"{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)} of {processes}"
        store = dist.PrefixStore(attempt, store)
        backend = "cpu:gloo,cuda:nccl" if cuda else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=processes)
        _patient = dist.new_group(backend="gloo", timeout=PATIENCE)
    with open(os.devnull, "w") as nowhere, contextlib.ExitStack() as stack:
        if not is_main():
            stack.enter_context(contextlib.redirect_stdout(nowhere))
        yield
    # After an error there is nobody left to take leave from.
    dist.destroy_process_group()


# ----------------------------------------------------------------------- places


def rank() -> int:
    """Return the number of this process, from 0."""
    return dist.get_rank() if world_size() > 1 else 0


def world_size() -> int:
    """Return how many processes there are."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def is_main() -> bool:
    """True in the process that writes, logs and prints."""
    return rank() == 0


def local_rank() -> int:
    """Return the number of this process on its machine, from 0."""
    return int(os.environ.get("LOCAL_RANK", 0)) if _launched() else 0


def local_world_size() -> int:
    """Return how many processes this machine has."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", 1)) if _launched() else 1


def _launched() -> bool:
    return all(name in os.environ for name in TOLD_BY_TORCHRUN)


def local_shard(total: Sequence[T] | Tensor) -> Sequence[T] | Tensor:
    """Return this process's shard of a global batch, which is cut into equal runs."""
    part = len(total) // world_size()
    return total[rank() * part : (rank() + 1) * part]


def rank_indices(items: int) -> range:
    """Return which of some items this process works on: every world_size-th, from its rank on."""
    return range(rank(), items, world_size())


# ---------------------------------------------------------------- between hosts


def all_reduce_max(*values: float) -> list[float]:
    """Return the maximum of each value over the processes, the same in all."""
    if world_size() == 1:
        return list(values)
    found = torch.tensor(values, dtype=torch.float64)
    with _noticing_losses():
        dist.all_reduce(found, dist.ReduceOp.MAX, group=_patient)
    return found.tolist()


def broadcast_from_main(work: Callable[[], T]) -> T:
    """Return in all processes what `work` returns in the first, the only one that calls it.

    Where it raises UserError or SystemExit there, the others end quietly with the same code.
    """
    if world_size() == 1:
        return work()
    told: list = [None, None]  # the result, or how to end
    if is_main():
        try:
            told[0] = work()
        except (UserError, SystemExit) as error:
            _broadcast([None, SystemExit(2 if isinstance(error, UserError) else error.code)])
            raise
    result, end = _broadcast(told)
    if end is not None:
        raise end
    return result


def _broadcast(told: list) -> list:
    with _noticing_losses():
        dist.broadcast_object_list(told, src=0, group=_patient)
    return told


def local_main_process_first(work: Callable[[], T]) -> T:
    """Call `work` in one process of each machine, then in the others, which find its files.

    Where it raises UserError in the first of them, the others end quietly.
    """
    if world_size() == 1:
        return work()
    if local_rank() == 0:
        try:
            result = work()
        except UserError:
            all_reduce_max(True)
            raise
    (failed,) = all_reduce_max(False)
    if failed:
        raise SystemExit(2)
    return result if local_rank() == 0 else work()


def gather_objects(mine: Sequence[T], items: int) -> list[T]:
    """Return the results for all items, in their order; `mine` are those of `rank_indices`."""
    if world_size() == 1:
        return list(mine)
    shares: list = [None] * world_size()
    with _noticing_losses():
        dist.all_gather_object(shares, list(mine), group=_patient)
    return [shares[item % world_size()][item // world_size()] for item in range(items)]


@contextlib.contextmanager
def _noticing_losses() -> Iterator[None]:
    """Say in one line that another process is gone."""
    try:
        yield
    except RuntimeError as error:
        raise _loss_of_others(error) from None


def _loss_of_others(error: RuntimeError) -> UserError:
    reason = str(error).splitlines()[0][:200]
    place = os.environ.get("RANK")
    return UserError(
        f"process {place} lost the others ({reason}); what ended the first to go stands "
        "above. torchrun --max-restarts N goes on from last.ckpt"
    )


# -------------------------------------------------------------- between devices


def data_parallel(model: nn.Module) -> nn.Module:
    """Return what runs the model; `backward` then leaves the means of all processes' gradients.

    All processes must have built the same weights, and none is told them here. Buffers are left
    alone: those of `SyncedBatchNorm` are equal already.
    """
    if world_size() == 1:
        return model
    with warnings.catch_warnings():
        # From 2.14 on the flag has a new name, which PyTorch 2.10 does not know.
        warnings.simplefilter("ignore", FutureWarning)
        return DistributedDataParallel(
            model,
            find_unused_parameters=True,
            gradient_as_bucket_view=True,  # one copy of the gradients less
            broadcast_buffers=False,
            init_sync=False,
        )


def backward(loss: Tensor) -> None:
    """Compute the gradients; those of a model of `data_parallel` are exchanged meanwhile.

    Raises UserError where another process is gone, but leaves other errors what they are.
    """
    try:
        loss.backward()
    except RuntimeError as error:
        # What gloo raises has no type of its own; its messages begin with its file.
        if world_size() == 1 or not (isinstance(error, dist.DistError) or "gloo" in str(error)):
            raise
        raise _loss_of_others(error) from None


def all_reduce_mean(figures: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the means of scalars on one device over the processes, in one small reduction."""
    if world_size() == 1:
        return figures
    flat = torch.stack([value.float() for value in figures.values()])
    with _noticing_losses():
        dist.all_reduce(flat)
    return dict(zip(figures, (flat / world_size()).unbind()))


def gather(part: Tensor, dim: int) -> Tensor:
    """Join the equal parts of all processes along a dimension, in the order of their ranks."""
    if world_size() == 1:
        return part
    part = part.contiguous()
    parts = [torch.empty_like(part) for _ in range(world_size())]
    with _noticing_losses():
        dist.all_gather(parts, part)
    return torch.cat(parts, dim)


class _Sum(torch.autograd.Function):
    """The sum over the processes; its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx, part: Tensor) -> Tensor:
        total = part.clone()
        with _noticing_losses():
            dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return _Sum.forward(ctx, gradient.contiguous())


def all_reduce_sum(part: Tensor) -> Tensor:
    """Return the sum over the processes, through which gradients pass."""
    return _Sum.apply(part)
