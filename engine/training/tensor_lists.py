"""Lists of tensors, such as gradients or buffers, in a few operations instead of some for each."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor


def where_each(condition: Tensor, these: Sequence[Tensor], those: Sequence[Tensor]) -> list[Tensor]:
    """Return `torch.where` of a scalar condition and every pair of tensors of one shape and type.

    Colors last in memory stay so.
    """
    chosen: list[Tensor] = [condition] * len(these)
    for numbers in _by_type(these):
        here = [_rows(these[k], like=these[k]) for k in numbers]
        there = [_rows(those[k], like=these[k]) for k in numbers]
        flat = (torch.cat([x.view(-1) for x in rows]) for rows in (here, there))
        parts = torch.where(condition, *flat).split([x.numel() for x in here])
        for number, part, rows in zip(numbers, parts, here):
            part, like = part.view(rows.shape), these[number]
            chosen[number] = part.permute(0, 3, 1, 2) if _colors_last(like) else part
    return chosen


def copy_each(targets: Sequence[Tensor], sources: Sequence[Tensor]) -> None:
    """Copy every source into its target."""
    for numbers in _by_type(targets):
        torch._foreach_copy_([targets[k] for k in numbers], [sources[k] for k in numbers])


def _by_type(tensors: Sequence[Tensor]) -> Iterator[list[int]]:
    """Yield the numbers of the tensors of each type."""
    found: dict[torch.dtype, list[int]] = {}
    for number, x in enumerate(tensors):
        found.setdefault(x.dtype, []).append(number)
    yield from found.values()


def _colors_last(x: Tensor) -> bool:
    last = x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)
    return last and not x.is_contiguous()


def _rows(x: Tensor, like: Tensor) -> Tensor:
    """Return a contiguous view of values that lie as those of `like` do, else a copy."""
    return (x.permute(0, 2, 3, 1) if _colors_last(like) else x).contiguous()
