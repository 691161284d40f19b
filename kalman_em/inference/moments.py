"""Sums of products of regressors and residuals over the rows of a group, compiled: a block of rows at a time."""

from __future__ import annotations

from kalman_em.arrays import Array, BoolArray, IntArray
from kalman_em.compiled import fused, fused_part

# So many rows lie side by side in a block.
BLOCK_ROWS = 64


@fused
def add_moments(
    order: IntArray,
    bounds: IntArray,
    entries: IntArray,
    targets: Array,
    states: Array,
    inputs: Array,
    matrix: Array,
    matrix_index: IntArray,
    offset: Array,
    offset_index: IntArray,
    seen: BoolArray,
    block: Array,
    gram: Array,
    residual: Array,
    cross: Array,
    regressor: Array,
) -> None:
    """Add e e', e z' and z z' over the rows of every group, z = (x, 1, u) and e = target - M x - c.

    The rows of group g are `order[bounds[g] : bounds[g + 1]]`. They share M, and the values that were `seen`: where
    none came e is 0. Their sums go to entry `entries[g]`. The rows lie side by side in `block` as columns (x, 1, u, e),
    whose row of ones stands; `gram` has the products of all pairs of its rows.
    """
    p, d, k = targets.shape[1], states.shape[1], inputs.shape[1]
    r, n = d + 1 + k, block.shape[0]
    for g in range(bounds.shape[0] - 1):
        for i in range(n):
            for j in range(n):
                gram[i, j] = 0.0
        for begin in range(bounds[g], bounds[g + 1], block.shape[1]):
            width = min(bounds[g + 1] - begin, block.shape[1])
            M = matrix[matrix_index[order[begin]]]
            for b in range(width):
                t = order[begin + b]
                c = offset_index[t]
                for i in range(d):
                    block[i, b] = states[t, i]
                for i in range(k):
                    block[d + 1 + i, b] = inputs[t, i]
                for i in range(p):
                    block[r + i, b] = targets[t, i] - offset[c, i]
            for i in range(p):
                error = block[r + i]
                for j in range(d):
                    coefficient = M[i, j]
                    for b in range(width):
                        error[b] -= coefficient * block[j, b]
                if not seen[g, i]:
                    for b in range(width):
                        error[b] = 0.0
            add_gram(block, width, gram)
        entry = entries[g]
        for i in range(r):
            for j in range(i + 1):
                regressor[entry, i, j] += gram[i, j]
                regressor[entry, j, i] = regressor[entry, i, j]
        for i in range(p):
            for j in range(r):
                cross[entry, i, j] += gram[r + i, j]
            for j in range(i + 1):
                residual[entry, i, j] += gram[r + i, r + j]
                residual[entry, j, i] = residual[entry, i, j]


@fused_part
def add_gram(block: Array, width: int, gram: Array) -> None:
    """Add the products of all pairs of rows of `block`, over its first `width` columns, to the lower triangle."""
    for i in range(block.shape[0]):
        j = 0
        while j + 3 <= i:
            first, second, third, fourth = 0.0, 0.0, 0.0, 0.0
            for b in range(width):
                entry = block[i, b]
                first += entry * block[j, b]
                second += entry * block[j + 1, b]
                third += entry * block[j + 2, b]
                fourth += entry * block[j + 3, b]
            gram[i, j] += first
            gram[i, j + 1] += second
            gram[i, j + 2] += third
            gram[i, j + 3] += fourth
            j += 4
        while j <= i:
            total = 0.0
            for b in range(width):
                total += block[i, b] * block[j, b]
            gram[i, j] += total
            j += 1
