"""The atomic steps of filter and smoother, compiled; the batch loops and the online filter share them.

A state is a mean, a covariance and, while some direction of it is diffuse, a factor A with k columns:
x ~ N(mean, cov + κ A A'), κ to infinity (Durbin and Koopman 2012, section 5.2, with P_inf kept as a factor:
each observation of a diffuse direction removes exactly one column, so the diffuse phase ends exactly).

Observations arrive one scalar at a time, y = h'x + v with v ~ N(0, variance), so that no matrix is inverted
(Durbin and Koopman 2012, section 6.4).
"""

from __future__ import annotations

import math

from kalman_em.arrays import Array
from kalman_em.compiled import kernel, part
from kalman_em.inference.numerics import LOST_DIGITS

LOG_2PI = math.log(2.0 * math.pi)
# A sum that cancels to this part of the size of its terms is rounding, not information.
CANCELLED = 1e-9
# The same for a sum of squares and for the pivots of a covariance.
CANCELLED_SQUARE = 1e-14
# In between rounding and this part it may be either, or has lost too many digits: factors are needed to say.
ROUNDED, UNSURE = 1e-13, 1e-7
# An observation with more noise than this part of its spread takes at most three digits from a difference. That will
# do where all states are noisy: elsewhere smoothing would carry the errors on along directions free of noise.
LOSSLESS = 1e-3
NOISY = 1e-6

# How many states there are: by the length of a tuple, which the compiler knows and unrolls loops by, or of an array.
Size = tuple[float, ...] | Array


@kernel
def ldl(n: int, matrix: Array, lower: Array, pivots: Array) -> None:
    """Factor the first n rows of a PSD `matrix` as L diag(pivots) L', L unit lower triangular; pivots may be 0."""
    for j in range(n):
        pivot = matrix[j, j]
        for k in range(j):
            pivot -= lower[j, k] * lower[j, k] * pivots[k]
        if pivot <= CANCELLED_SQUARE * matrix[j, j]:
            pivot = 0.0
        pivots[j] = pivot
        lower[j, j] = 1.0
        for i in range(j):
            lower[i, j] = 0.0
        for i in range(j + 1, n):
            entry = 0.0
            if pivot > 0.0:
                entry = matrix[i, j]
                for k in range(j):
                    entry -= lower[i, k] * lower[j, k] * pivots[k]
                entry /= pivot
            lower[i, j] = entry


@part
def udu(n: int, matrix: Array, upper: Array, pivots: Array) -> None:
    """Factor the first n rows of a PSD `matrix` as U diag(pivots) U', U unit upper triangular; pivots may be 0.

    From the last row to the first: where the noise of a rate drives what it is the rate of, as in all motion over short
    times, the rate has most of it, and the entries of U are small.
    """
    for j in range(n - 1, -1, -1):
        pivot = matrix[j, j]
        for k in range(j + 1, n):
            pivot -= upper[j, k] * upper[j, k] * pivots[k]
        if pivot <= CANCELLED_SQUARE * matrix[j, j]:
            pivot = 0.0
        pivots[j] = pivot
        upper[j, j] = 1.0
        for i in range(j + 1, n):
            upper[i, j] = 0.0
        for i in range(j):
            entry = 0.0
            if pivot > 0.0:
                entry = matrix[i, j]
                for k in range(j + 1, n):
                    entry -= upper[i, k] * upper[j, k] * pivots[k]
                entry /= pivot
            upper[i, j] = entry


@kernel
def predict_step(
    size: Size, transition: Array, offset: Array, noise_cov: Array, mean: Array, cov: Array, work: Array
) -> None:
    """Move mean and cov one step on, in place: F m + c and F P F' + Q."""
    predict_mean(size, transition, offset, mean, work)
    predict_cov(size, transition, noise_cov, cov, work)


@part
def predict_mean(size: Size, transition: Array, offset: Array, mean: Array, work: Array) -> None:
    """Move the mean one step on, in place: F m + c."""
    d = len(size)
    for i in range(d):
        total = offset[i]
        for j in range(d):
            total += transition[i, j] * mean[j]
        work[0, i] = total
    for i in range(d):
        mean[i] = work[0, i]


@part
def predict_cov(size: Size, transition: Array, noise_cov: Array, cov: Array, work: Array) -> None:
    """Move the covariance one step on, in place: F P F' + Q."""
    d = len(size)
    for i in range(d):
        for j in range(d):
            total = 0.0
            for k in range(d):
                total += transition[i, k] * cov[k, j]
            work[i, j] = total
    for i in range(d):
        for j in range(i + 1):
            total = noise_cov[i, j]
            for k in range(d):
                total += work[i, k] * transition[j, k]
            cov[i, j] = total
            cov[j, i] = total


@part
def predict_factor(size: Size, transition: Array, factor: Array, n_columns: int, work: Array) -> tuple[int, bool]:
    """Move the diffuse factor one step on, in place, dropping columns that the transition sends to 0.

    Entries that cancel are 0: what rounding leaves of them a later observation would take for a direction of its own.
    Returns the number of columns left, and whether it was unsure what is rounding.
    """
    d, is_unsure = len(size), False
    for i in range(d):
        for j in range(n_columns):
            total, scale = 0.0, 0.0
            for k in range(d):
                total += transition[i, k] * factor[k, j]
                scale += abs(transition[i, k] * factor[k, j])
            is_unsure = is_unsure or is_doubtful(total, scale)
            work[i, j] = total if abs(total) > CANCELLED * scale else 0.0
    kept = 0
    for j in range(n_columns):
        is_null = True
        for i in range(d):
            if work[i, j] != 0.0:
                is_null = False
        if not is_null:
            for i in range(d):
                work[i, kept] = work[i, j]
            kept += 1
    for i in range(d):
        for j in range(kept):
            factor[i, j] = work[i, j]
    return kept, is_unsure


@part
def is_doubtful(total: float, scale: float) -> bool:
    """Whether a sum of terms of this size is neither clearly rounding nor clearly something."""
    return ROUNDED * scale < abs(total) < UNSURE * scale


@part
def joseph(size: Size, h: Array, gain: Array, variance: float, cov: Array, row: Array) -> None:
    """Replace cov by (I - K h') cov (I - K h')' + K variance K', in place and exactly symmetric.

    The product is taken in this order so that rounding stays relative to the small result, not to the
    large prior (Bierman 1977, Factorization Methods for Discrete Sequential Estimation, section II.4).
    """
    d = len(size)
    for j in range(d):
        total = 0.0
        for k in range(d):
            total += h[k] * cov[k, j]
        row[j] = total
    for i in range(d):
        for j in range(d):
            cov[i, j] -= gain[i] * row[j]
    for i in range(d):
        total = 0.0
        for k in range(d):
            total += cov[i, k] * h[k]
        row[i] = variance * gain[i] - total
    for i in range(d):
        for j in range(i + 1):
            entry = cov[i, j] + row[i] * gain[j]
            cov[i, j] = entry
            cov[j, i] = entry


@part
def condition(
    size: Size, h: Array, gain: Array, variance: float, spread: float, lossless: float, cov: Array, row: Array
) -> None:
    """Condition cov on a scalar with regular `gain` K = P h / s: P - s K K' where that keeps its digits, or `joseph`.

    That is where the noise is more than the part `lossless` of the spread.
    """
    if variance <= lossless * spread:
        joseph(size, h, gain, variance, cov, row)
        return
    d = len(size)
    for i in range(d):
        row[i] = spread * gain[i]
    for i in range(d):
        for j in range(i + 1):
            entry = cov[i, j] - gain[i] * row[j]
            cov[i, j] = entry
            cov[j, i] = entry


@part
def regular_gain(size: Size, h: Array, variance: float, cov: Array, reference: Array, gain: Array) -> float:
    """Fill `gain` with K = P h / s and return s = h'P h + variance, or 0 where s is rounding alone.

    `reference` is the covariance before any scalar of this row, the size against which rounding is judged.
    """
    d = len(size)
    s = variance
    for i in range(d):
        total = 0.0
        for j in range(d):
            total += cov[i, j] * h[j]
        gain[i] = total
        s += h[i] * total
    if variance <= 0.0:
        scale = 0.0
        for i in range(d):
            for j in range(d):
                scale += abs(h[i] * reference[i, j] * h[j])
        if s <= CANCELLED_SQUARE * scale:
            s = 0.0
    if s > 0.0:
        for i in range(d):
            gain[i] /= s
    else:
        for i in range(d):
            gain[i] = 0.0
    return s


@part
def diffuse_gain(
    size: Size, h: Array, factor: Array, n_columns: int, weights: Array, gain: Array
) -> tuple[float, bool]:
    """Fill `gain` with K = A w / w'w, w = A'h; return w'w, 0 where h sees no diffuse direction.

    Also returns whether it was unsure what of w is rounding.
    """
    d = len(size)
    s, is_unsure = 0.0, False
    for j in range(n_columns):
        total = 0.0
        scale = 0.0
        for i in range(d):
            term = factor[i, j] * h[i]
            total += term
            scale += abs(term)
        is_unsure = is_unsure or is_doubtful(total, scale)
        if abs(total) <= CANCELLED * scale:
            total = 0.0
        weights[j] = total
        s += total * total
    if s > 0.0:
        for i in range(d):
            total = 0.0
            for j in range(n_columns):
                total += factor[i, j] * weights[j]
            gain[i] = total / s
    return s, is_unsure


@part
def reduce_factor(size: Size, factor: Array, n_columns: int, weights: Array) -> tuple[int, bool]:
    """Remove from the factor, in place, the direction w: a Householder reflection takes w to the first axis.

    Returns the number of columns left, and whether it was unsure what is rounding.
    """
    d, is_unsure = len(size), False
    norm = 0.0
    for j in range(n_columns):
        norm += weights[j] * weights[j]
    norm = math.sqrt(norm)
    first = weights[0]
    weights[0] = first + norm if first >= 0.0 else first - norm
    square = 0.0
    for j in range(n_columns):
        square += weights[j] * weights[j]
    kept = n_columns - 1
    for i in range(d):
        total = 0.0
        extent = 0.0
        for j in range(n_columns):
            total += factor[i, j] * weights[j]
            entry = abs(factor[i, j])
            extent = entry if entry > extent else extent
        total *= 2.0 / square
        for j in range(1, n_columns):
            entry = factor[i, j] - total * weights[j]
            is_unsure = is_unsure or is_doubtful(entry, extent)
            factor[i, j - 1] = entry if abs(entry) > CANCELLED * extent else 0.0
        factor[i, kept] = 0.0
    # Columns that were equal leave a null column behind.
    compact = 0
    for j in range(kept):
        is_null = True
        for i in range(d):
            if factor[i, j] != 0.0:
                is_null = False
        if not is_null:
            for i in range(d):
                factor[i, compact] = factor[i, j]
            compact += 1
    for j in range(compact, kept):
        for i in range(d):
            factor[i, j] = 0.0
    return compact, is_unsure


@part
def update_step(
    size: Size,
    h: Array,
    value: float,
    variance: float,
    mean: Array,
    cov: Array,
    factor: Array,
    n_columns: int,
    reference: Array,
    lossless: float,
    gain: Array,
    work: Array,
) -> tuple[float, float, int, bool]:
    """Condition mean, cov and factor on one scalar observation, in place; fill `gain`.

    Returns the log density (-inf where the observation contradicts a state known without error), the spread s (0 where
    there was nothing to learn, -1 for a diffuse direction), the number of columns left, and whether it was unsure what
    of the diffuse directions is rounding.
    """
    d, is_unsure, is_doubted = len(size), False, False
    row, weights = work[1], work[2]
    error = value
    for i in range(d):
        error -= h[i] * mean[i]
    s = 0.0
    if n_columns > 0:
        s, is_unsure = diffuse_gain(size, h, factor, n_columns, weights, gain)
    if s > 0.0:
        log_density = -0.5 * (LOG_2PI + math.log(s))
        n_columns, is_doubted = reduce_factor(size, factor, n_columns, weights)
        joseph(size, h, gain, variance, cov, row)
        s = -1.0
    else:
        s = regular_gain(size, h, variance, cov, reference, gain)
        if s <= 0.0:
            extent = abs(value)
            for i in range(d):
                extent += abs(h[i] * mean[i])
            return (0.0 if abs(error) <= CANCELLED * extent else -math.inf), 0.0, n_columns, is_unsure
        log_density = -0.5 * (LOG_2PI + math.log(s) + error * error / s)
        condition(size, h, gain, variance, s, lossless, cov, row)
    for i in range(d):
        mean[i] += gain[i] * error
    return log_density, s, n_columns, is_unsure or is_doubted


@part
def smooth_step(
    size: Size,
    rows: Array,
    upper: Array,
    pivots: Array,
    filtered_cov: Array,
    next_cov: Array,
    factor: Array,
    n_columns: int,
    lossless: float,
    smoother_gain: Array,
    cov: Array,
    work: Array,
) -> tuple[int, bool]:
    """Condition the filtered state at t on the state at t+1.

    Returns the number of diffuse columns left, and whether a spread cancelled so far that rounding may count.

    x[t+1] = F x[t] + c + w, w ~ N(0, Q), is an observation of x[t]. With Q = U D U' and `rows` = U^-1 F it is d
    independent scalar observations, so neither Q nor a predicted covariance is inverted: both may be singular.
    Fills `smoother_gain` G, with E[x[t] | x[t+1], y[0..t]] = m + G (x[t+1] - F m - c), and `cov` with
    Cov[x[t] | x[t+1], y[0..t]]. The factor is consumed. The last row of `work` takes the largest variances that a
    diffuse direction left on the way, with `next_cov` for what is known of x[t+1]: others may cancel them.
    """
    d, is_lossy = len(size), False
    gain, row, weights, peaks = work[0], work[1], work[2], work[work.shape[0] - 1]
    for i in range(d):
        peaks[i] = 0.0
        for j in range(d):
            cov[i, j] = filtered_cov[i, j]
            smoother_gain[i, j] = 0.0
    for i in range(d - 1, -1, -1):
        h = rows[i]
        s = 0.0
        if n_columns > 0:
            s, is_unsure = diffuse_gain(size, h, factor, n_columns, weights, gain)
            is_lossy = is_lossy or is_unsure
        if s > 0.0:
            n_columns, is_unsure = reduce_factor(size, factor, n_columns, weights)
            is_lossy = is_lossy or is_unsure
            joseph(size, h, gain, pivots[i], cov, row)
            for k in range(d):
                peaks[k] = max(peaks[k], gain[k] * gain[k] * (pivots[i] + next_cov[i, i]))
        else:
            s = regular_gain(size, h, pivots[i], cov, filtered_cov, gain)
            if s <= 0.0:
                continue
            seen = 0.0
            for k in range(d):
                seen += h[k] * h[k] * filtered_cov[k, k]
            is_lossy = is_lossy or seen > LOST_DIGITS * s
            condition(size, h, gain, pivots[i], s, lossless, cov, row)
        for j in range(i + 1, d):
            total = 0.0
            for k in range(d):
                total += h[k] * smoother_gain[k, j]
            for k in range(d):
                smoother_gain[k, j] -= gain[k] * total
        for k in range(d):
            smoother_gain[k, i] = gain[k]
    # Back from the coordinates U^-1 x[t+1] to those of x[t+1]: G U = smoother_gain.
    for j in range(d):
        for i in range(j):
            if upper[i, j] != 0.0:
                for k in range(d):
                    smoother_gain[k, j] -= smoother_gain[k, i] * upper[i, j]
    return n_columns, is_lossy


@part
def whiten_rows(size: Size, upper: Array, transition: Array, rows: Array) -> None:
    """Fill `rows` with U^-1 F by back substitution."""
    d = len(size)
    for i in range(d - 1, -1, -1):
        for j in range(d):
            total = transition[i, j]
            for k in range(i + 1, d):
                total -= upper[i, k] * rows[k, j]
            rows[i, j] = total


@part
def smoothed_cov(size: Size, gain: Array, next_cov: Array, conditional_cov: Array, lag_one: Array, cov: Array) -> None:
    """Fill `lag_one` with V[t+1] G' and `cov` with G V[t+1] G' + Cov[x[t] | x[t+1], y[0..t]].

    The law of total covariance: a sum of two PSD terms, so no subtraction can lose definiteness.
    """
    d = len(size)
    for i in range(d):
        for j in range(d):
            total = 0.0
            for k in range(d):
                total += next_cov[i, k] * gain[j, k]
            lag_one[i, j] = total
    for i in range(d):
        for j in range(i + 1):
            total = conditional_cov[i, j]
            for k in range(d):
                total += gain[i, k] * lag_one[k, j]
            cov[i, j] = total
            cov[j, i] = total


@part
def copy_vector(size: Size, source: Array, target: Array) -> None:
    """Copy d numbers."""
    for i in range(len(size)):
        target[i] = source[i]


@part
def copy_matrix(size: Size, source: Array, target: Array) -> None:
    """Copy d by d numbers."""
    d = len(size)
    for i in range(d):
        for j in range(d):
            target[i, j] = source[i, j]


@part
def clear(size: Size, matrix: Array) -> None:
    """Fill d by d numbers with 0."""
    for i in range(len(size)):
        for j in range(len(size)):
            matrix[i, j] = 0.0
