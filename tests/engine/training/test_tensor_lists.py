"""Lists of tensors in a few operations."""

import pytest
import torch

from engine.training.tensor_lists import copy_each, where_each

SHAPES = [(3,), (), (2, 5, 3, 3), (4, 6), (1, 7, 1, 1), (3, 1, 3, 3), (0,)]


def tensors(seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    found = [torch.randn(shape, generator=generator) for shape in SHAPES]
    found[2] = found[2].contiguous(memory_format=torch.channels_last)
    return [*found, torch.tensor(seed), torch.arange(seed, seed + 3), found[3].T]


@pytest.mark.parametrize("condition", [True, False])
def test_each_is_what_where_chooses(condition):
    these, those = tensors(1), tensors(2)
    those[0][1] = float("nan")
    those[2] = those[2].contiguous()  # lies in another order
    chosen = where_each(torch.tensor(condition), these, those)
    for found, one, other in zip(chosen, these, those):
        expected = torch.where(torch.tensor(condition), one, other)
        assert found.dtype == expected.dtype
        torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)
    assert chosen[2].stride() == these[2].stride()


def test_each_is_copied():
    targets, sources = tensors(1), tensors(2)
    copy_each(targets, sources)
    assert all(map(torch.equal, targets, sources))
