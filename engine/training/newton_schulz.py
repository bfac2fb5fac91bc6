"""Matrices pushed to orthogonal ones, many at once."""

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

QUINTIC = (3.4445, -4.7750, 2.0315)  # of Jordan et al.: singular values from (0, 1] to about 1
ITERATIONS = 5
# What two batches may cost more as one, in floating-point operations: on a GPU some twenty launches
# take as long. The 49 shapes of `--preset quick` become 5, those of the lab's widths 12.
WORTH_JOINING = 2e8

Shape = tuple[int, int]  # rows and columns, rows no more than columns


def orthogonal(matrices: Tensor) -> Tensor:
    """Push all singular values of (K, m, n), m ≤ n, to about 1, their directions as they are.

    A few steps of an odd polynomial (Newton and Schulz), which need products of matrices only.
    Rows and columns of zeros stay such, and change nothing in the others.
    """
    a, b, c = QUINTIC
    x = matrices / (torch.linalg.matrix_norm(matrices, keepdim=True) + 1e-7)
    for _ in range(ITERATIONS):
        square = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return x


def shared_shapes(shapes: Sequence[Shape]) -> dict[Shape, Shape]:
    """Return for each shape the one that it is filled up to with zeros, to share a batch.

    Those batches are joined, two by two, that cost least as one.
    """
    batches = {shape: (count, [shape]) for shape, count in sorted(Counter(shapes).items())}
    while len(batches) > 1:
        keys = list(batches)
        pairs = [(a, b) for number, a in enumerate(keys) for b in keys[:number]]
        a, b = min(pairs, key=lambda pair: _cost_of_joining(*pair, batches))
        if _cost_of_joining(a, b, batches) > WORTH_JOINING:
            break
        (count, own), (other_count, others) = batches.pop(a), batches.pop(b)
        joined, (known_count, known) = _joined(a, b), batches.get(_joined(a, b), (0, []))
        batches[joined] = (count + other_count + known_count, own + others + known)
    return {shape: shared for shared, (_, own) in batches.items() for shape in own}


def _joined(a: Shape, b: Shape) -> Shape:
    return max(a[0], b[0]), max(a[1], b[1])


def _cost_of_joining(a: Shape, b: Shape, batches: dict) -> float:
    counts = batches[a][0], batches[b][0]
    return sum(counts) * _cost(_joined(a, b)) - counts[0] * _cost(a) - counts[1] * _cost(b)


def _cost(shape: Shape) -> float:
    """Return the floating-point operations of pushing one matrix."""
    m, n = shape
    return 2 * ITERATIONS * (2 * m * m * n + m**3)
