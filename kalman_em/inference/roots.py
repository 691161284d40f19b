"""The filter in a square root S of the covariance, P = S S', compiled: for the rows after a diffuse start.

A trend and a wave of a year are hardly told apart by the first weeks: once as many rows are seen as there are diffuse
directions, variances are 10^8 times those of the observations and cancel in every prediction. P loses all digits by
that, S half of them (Bierman 1977, Factorization Methods for Discrete Sequential Estimation, chapter V; the update is
Potter's).
"""

from __future__ import annotations

import math

from kalman_em.arrays import Array
from kalman_em.compiled import part
from kalman_em.inference.steps import (
    CANCELLED,
    CANCELLED_SQUARE,
    LOG_2PI,
    Size,
    diffuse_gain,
    ldl,
    reduce_factor,
)

# No direction has less than this part of the variances of the states that make it: P itself then keeps its digits.
WELL_SPREAD = 1e-3


@part
def root_of(size: Size, cov: Array, root: Array, lower: Array, pivots: Array) -> None:
    """Fill `root` with a lower triangular S, S S' = cov."""
    d = len(size)
    ldl(d, cov, lower, pivots)
    for i in range(d):
        for j in range(d):
            root[i, j] = lower[i, j] * math.sqrt(pivots[j]) if j <= i else 0.0


@part
def square_of(size: Size, root: Array, cov: Array) -> None:
    """Fill `cov` with S S'."""
    d = len(size)
    for i in range(d):
        for j in range(i + 1):
            total = 0.0
            for k in range(d):
                total += root[i, k] * root[j, k]
            cov[i, j] = total
            cov[j, i] = total


@part
def triangularised(size: Size, wide: Array, n_columns: int, root: Array) -> None:
    """Fill `root` with a lower triangular S, S S' = W W', by reflections of the columns of W; W is consumed."""
    d = len(size)
    for i in range(d):
        square = 0.0
        for k in range(i, n_columns):
            square += wide[i, k] * wide[i, k]
        norm = math.sqrt(square)
        if norm > 0.0:
            first = wide[i, i]
            head = first + norm if first >= 0.0 else first - norm
            # The reflection is I - 2 u u' / u'u with u = (head, rest of the row).
            half = norm * abs(head)
            for r in range(i + 1, d):
                total = wide[r, i] * head
                for k in range(i + 1, n_columns):
                    total += wide[r, k] * wide[i, k]
                total /= half
                wide[r, i] -= total * head
                for k in range(i + 1, n_columns):
                    wide[r, k] -= total * wide[i, k]
            wide[i, i] = -norm if first >= 0.0 else norm
        for j in range(d):
            root[i, j] = wide[i, j] if j <= i else 0.0


@part
def predict_root(size: Size, transition: Array, noise_cov: Array, root: Array, cov: Array, wide: Array) -> None:
    """Move the root one step on, in place, and fill `cov` with its square: F P F' + Q. `cov` is scratch before."""
    d = len(size)
    for i in range(d):
        for j in range(d):
            total = 0.0
            for k in range(d):
                total += transition[i, k] * root[k, j]
            wide[i, j] = total
    root_of(size, noise_cov, root, cov, wide[d])
    for i in range(d):
        for j in range(d):
            wide[i, d + j] = root[i, j]
    triangularised(size, wide, 2 * d, root)
    square_of(size, root, cov)


@part
def update_root(
    size: Size,
    h: Array,
    value: float,
    variance: float,
    mean: Array,
    cov: Array,
    factor: Array,
    n_columns: int,
    gain: Array,
    root: Array,
    wide: Array,
    work: Array,
) -> tuple[float, float, int, bool]:
    """Condition mean, root and factor on one scalar observation, in place; fill `gain`, and `cov` with S S'.

    Returns what `update_step` does.
    """
    d = len(size)
    row, weights = work[1], work[2]
    error, extent, scale = value, abs(value), 0.0
    for i in range(d):
        error -= h[i] * mean[i]
        extent += abs(h[i] * mean[i])
    spread = 0.0
    for j in range(d):
        total, size_of_terms = 0.0, 0.0
        for i in range(d):
            total += root[i, j] * h[i]
            size_of_terms += abs(root[i, j] * h[i])
        row[j] = total
        spread += total * total
        scale += size_of_terms * size_of_terms
    s, is_unsure, is_doubted = 0.0, False, False
    if n_columns > 0:
        s, is_unsure = diffuse_gain(size, h, factor, n_columns, weights, gain)
    if s > 0.0:
        n_columns, is_doubted = reduce_factor(size, factor, n_columns, weights)
        deviation = math.sqrt(variance)
        for i in range(d):
            for j in range(d):
                wide[i, j] = root[i, j] - gain[i] * row[j]
            wide[i, d] = gain[i] * deviation
        triangularised(size, wide, d + 1, root)
        log_density = -0.5 * (LOG_2PI + math.log(s))
        result = -1.0
    else:
        result = spread + variance
        if variance <= 0.0 and spread <= CANCELLED_SQUARE * scale:
            for i in range(d):
                gain[i] = 0.0
            return (0.0 if abs(error) <= CANCELLED * extent else -math.inf), 0.0, n_columns, is_unsure
        part = result + math.sqrt(variance * result)
        for i in range(d):
            total = 0.0
            for j in range(d):
                total += root[i, j] * row[j]
            gain[i] = total / result
            for j in range(d):
                root[i, j] -= total / part * row[j]
        log_density = -0.5 * (LOG_2PI + math.log(result) + error * error / result)
    for i in range(d):
        mean[i] += gain[i] * error
    square_of(size, root, cov)
    return log_density, result, n_columns, is_unsure or is_doubted


@part
def is_well_spread(size: Size, cov: Array, lower: Array, pivots: Array) -> bool:
    """Whether every state keeps a good part of its variance when the states before it are known."""
    d = len(size)
    ldl(d, cov, lower, pivots)
    is_spread = True
    for i in range(d):
        is_spread = is_spread and pivots[i] >= WELL_SPREAD * cov[i, i]
    return is_spread
