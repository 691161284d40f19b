"""Cholesky factors and solves of small matrices inside compiled loops, in place."""

from __future__ import annotations

import math

from kalman_em.arrays import Array
from kalman_em.compiled import kernel


@kernel
def factor(matrix: Array, lower: Array) -> bool:
    """Fill `lower` with L of L L' = `matrix`; return whether the matrix is positive definite."""
    n = matrix.shape[0]
    for i in range(n):
        for j in range(i + 1):
            total = matrix[i, j]
            for k in range(j):
                total -= lower[i, k] * lower[j, k]
            if i == j:
                if not total > 0.0:
                    return False
                lower[i, i] = math.sqrt(total)
            else:
                lower[i, j] = total / lower[j, j]
    return True


@kernel
def solve_rows(lower: Array, rows: Array) -> None:
    """Replace every row r of `rows` (m, n) by (L L')^-1 r."""
    n = lower.shape[0]
    for m in range(rows.shape[0]):
        for i in range(n):
            total = rows[m, i]
            for k in range(i):
                total -= lower[i, k] * rows[m, k]
            rows[m, i] = total / lower[i, i]
        for i in range(n - 1, -1, -1):
            total = rows[m, i]
            for k in range(i + 1, n):
                total -= lower[k, i] * rows[m, k]
            rows[m, i] = total / lower[i, i]


@kernel
def times(left: Array, right: Array, out: Array) -> None:
    """Fill `out` with left right."""
    for i in range(left.shape[0]):
        for j in range(right.shape[1]):
            total = 0.0
            for k in range(left.shape[1]):
                total += left[i, k] * right[k, j]
            out[i, j] = total


@kernel
def times_transposed(left: Array, right: Array, out: Array) -> None:
    """Fill `out` with left right'."""
    for i in range(left.shape[0]):
        for j in range(right.shape[0]):
            total = 0.0
            for k in range(left.shape[1]):
                total += left[i, k] * right[j, k]
            out[i, j] = total


@kernel
def congruence(left: Array, middle: Array, out: Array, scratch: Array) -> None:
    """Fill `out` with left middle left', exactly symmetric for a symmetric `middle`; `scratch` has left's shape."""
    times(left, middle, scratch)
    for i in range(left.shape[0]):
        for j in range(i + 1):
            total = 0.0
            for k in range(left.shape[1]):
                total += scratch[i, k] * left[j, k]
            out[i, j] = total
            out[j, i] = total
