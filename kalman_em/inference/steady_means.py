"""Filter and smoother over rows whose covariances have converged, compiled: the means alone move."""

from __future__ import annotations

import math

from kalman_em.arrays import Array
from kalman_em.compiled import fused_part, inlined, local
from kalman_em.inference.kernel_arrays import Filtered, ForwardSpace, Scalars, Transitions
from kalman_em.inference.steps import LOG_2PI, Size


@inlined
def run_ahead(t: int, end: int, f: int, q: int, g: int, transitions: Transitions, scalars: Scalars) -> int:
    """Return the first row from `t` on, or `end`, that another F, Q or group than f, q and g belongs to."""
    if transitions.matrix.shape[0] == transitions.noise_cov.shape[0] == scalars.h.shape[0] == 1:
        return end
    while (
        t < end
        and scalars.group_index[t] == g
        and transitions.matrix_index[t - 1] == f
        and transitions.noise_index[t - 1] == q
    ):
        t += 1
    return t


@fused_part
def filter_steady(
    size: Size,
    t: int,
    stop: int,
    f: int,
    g: int,
    entry: int,
    keeps: bool,
    transitions: Transitions,
    scalars: Scalars,
    leftover: Array,
    filtered: Filtered,
    log_likelihoods: Array,
    space: ForwardSpace,
) -> float:
    """Filter the rows from `t` to before `stop` with the gains and spreads in `space`; return their log density.

    `space.mean` is the filtered mean of the row before, and becomes that of the last row. With e the independent errors
    of a row, x[t+1] predicted = F x[t] predicted + c + F K e: the innovations form (Anderson and Moore 1979, section
    9.2), which keeps the digits of what F leaves alone and lets a row begin before the one before is done.
    """
    d, m = len(size), scalars.counts[g]
    F, h = transitions.matrix[f], scalars.h[g]
    offset, offset_index = transitions.offset, transitions.offset_index
    mean, gains, precisions, pushed, coupling = space.mean, space.gains, space.spreads, space.pushed, space.coupling
    errors = space.errors
    ahead, following, updated = local(size, space.ahead), local(size, space.work[0]), local(size, space.work[1])
    constant = _prepare(size, F, h, m, gains, precisions, pushed, coupling)
    # Not in `space.cov`: of many states it holds the covariance that the filter goes on from.
    transition = local(size, space.factor)
    for i in range(d):
        total = offset[offset_index[t - 1], i]
        for j in range(d):
            transition[i, j] = F[i, j]
            total += F[i, j] * mean[j]
        ahead[i] = total
    summed = 0.0
    for r in range(t, stop):
        c = offset_index[r]
        for j in range(d):
            updated[j] = ahead[j]
            total = offset[c, j]
            for k in range(d):
                total += transition[j, k] * ahead[k]
            following[j] = total
        square = 0.0
        for i in range(m):
            error = scalars.values[r, i]
            for k in range(i):
                error -= coupling[i, k] * errors[k]
            for j in range(d):
                error -= h[i, j] * ahead[j]
            errors[i] = error
            square += error * error * precisions[i]
            for j in range(d):
                updated[j] += gains[i, j] * error
                following[j] += pushed[i, j] * error
        log_density = constant - 0.5 * square
        if leftover.shape[0] > 0:
            log_density += leftover[r]
        if keeps:
            for j in range(d):
                filtered.predicted_means[r, j], filtered.filtered_means[r, j] = ahead[j], updated[j]
            filtered.cov_index[r] = entry
            log_likelihoods[r] = log_density
        summed += log_density
        for j in range(d):
            ahead[j] = following[j]
    for j in range(d):
        mean[j] = updated[j]
    return summed


@inlined
def _prepare(
    size: Size, F: Array, h: Array, m: int, gains: Array, precisions: Array, pushed: Array, coupling: Array
) -> float:
    """Fill `pushed` with F K and `coupling` with h'K, turn spreads to precisions; return the log of the constant."""
    d = len(size)
    constant = 0.0
    for i in range(m):
        constant -= 0.5 * (LOG_2PI + math.log(precisions[i]))
        precisions[i] = 1.0 / precisions[i]
        for j in range(d):
            total = 0.0
            for k in range(d):
                total += F[j, k] * gains[i, k]
            pushed[i, j] = total
        for k in range(i):
            total = 0.0
            for j in range(d):
                total += h[i, j] * gains[k, j]
            coupling[i, k] = total
    return constant


@fused_part
def smooth_steady(
    size: Size,
    t: int,
    stop: int,
    gain: Array,
    predicted_means: Array,
    filtered_means: Array,
    smoothed_means: Array,
    work: Array,
) -> None:
    """Fill the smoothed means of the rows from `t` down to after `stop`, which share their covariances."""
    d = len(size)
    apart, smoothed = local(size, work[0]), local(size, work[1])
    for j in range(d):
        smoothed[j] = smoothed_means[t + 1, j]
    for r in range(t, stop, -1):
        for j in range(d):
            apart[j] = smoothed[j] - predicted_means[r + 1, j]
        for i in range(d):
            total = filtered_means[r, i]
            for j in range(d):
                total += gain[i, j] * apart[j]
            smoothed[i] = total
            smoothed_means[r, i] = total
