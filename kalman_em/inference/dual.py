"""The dual form of the smoother, compiled: what later observations tell, carried back and applied to filtered moments.

de Jong (1989); Durbin and Koopman 2012, equations (4.44). It loses the digits by which a large filtered variance
exceeds a small smoothed one, and keeps those that the plain form loses where noise-free directions contract.
"""

from __future__ import annotations

import math

from kalman_em.arrays import Array
from kalman_em.compiled import part
from kalman_em.inference.kernel_arrays import GuardSpace
from kalman_em.inference.steps import Size, copy_matrix, copy_vector, joseph, regular_gain


@part
def information_before(
    size: Size,
    h: Array,
    values: Array,
    variances: Array,
    count: int,
    prior_mean: Array,
    predicted_cov: Array,
    guard: GuardSpace,
) -> None:
    """Take the score r and information N, in place, from after the observations of a row to before them.

    r <- h v / s + L'r and N <- h h' / s + L'N L with L = I - K h', for each scalar observation, last to first.
    """
    d = len(size)
    score, information, gains, errors, spreads, mean, row, product, products = guard
    cov = products[0]
    copy_vector(size, prior_mean, mean)
    copy_matrix(size, predicted_cov, cov)
    for i in range(count):
        error = values[i]
        for j in range(d):
            error -= h[i, j] * mean[j]
        errors[i] = error
        spreads[i] = regular_gain(size, h[i], variances[i], cov, predicted_cov, gains[i])
        if spreads[i] > 0.0:
            for j in range(d):
                mean[j] += gains[i, j] * error
            joseph(size, h[i], gains[i], variances[i], cov, row)
    for i in range(count - 1, -1, -1):
        if spreads[i] <= 0.0:
            continue
        through, square = 0.0, 0.0
        for j in range(d):
            through += gains[i, j] * score[j]
            total = 0.0
            for k in range(d):
                total += information[j, k] * gains[i, k]
            product[j] = total
            square += gains[i, j] * total
        weight = errors[i] / spreads[i] - through
        for j in range(d):
            score[j] += h[i, j] * weight
            for k in range(d):
                information[j, k] += (
                    h[i, j] * h[i, k] * (square + 1.0 / spreads[i]) - h[i, j] * product[k] - product[j] * h[i, k]
                )


@part
def dual_step(
    size: Size,
    transition: Array,
    filtered_mean: Array,
    filtered_cov: Array,
    predicted_cov: Array,
    guard: GuardSpace,
    watch: Array,
    grown: float,
    lag_one: Array,
    mean: Array,
    cov: Array,
) -> float:
    """Take score and information back through the transition, and use them if that is the more accurate form.

    Returns the rounding of the form in use, by the factor it has grown.

    m + P r, P - P N P and (I - P[t+1] N[t+1]) F P, with P filtered at t and P[t+1] predicted. `lag_one`, `mean`
    and `cov` come holding the plain form, and `grown` its rounding; the watch begins anew where they are replaced.
    """
    d = len(size)
    score, information, shift = guard.score, guard.information, guard.mean
    moved, before, lag = guard.products[0], guard.products[1], guard.products[2]
    multiply(size, transition, filtered_cov, moved)
    multiply(size, information, moved, before)
    multiply(size, predicted_cov, before, lag)
    for i in range(d):
        for j in range(d):
            lag[i, j] = moved[i, j] - lag[i, j]
    carry_back(size, transition, score, information, shift, before)
    largest, seen = 0.0, 0.0
    for i in range(d):
        for j in range(d):
            if cov[i, i] > 0.0 and cov[j, j] > 0.0:
                unit = math.sqrt(cov[i, i] * cov[j, j])
                largest += (filtered_cov[i, j] / unit) ** 2
                seen += (information[i, j] * unit) ** 2
    largest, seen = math.sqrt(largest), math.sqrt(seen)
    lost = largest + largest * largest * seen
    if lost >= grown:
        return grown
    multiply(size, filtered_cov, information, moved)
    multiply(size, moved, filtered_cov, before)
    for i in range(d):
        total = filtered_mean[i]
        for j in range(d):
            total += filtered_cov[i, j] * score[j]
            lag_one[i, j] = lag[i, j]
        mean[i] = total
        for j in range(i + 1):
            cov[i, j] = filtered_cov[i, j] - 0.5 * (before[i, j] + before[j, i])
            cov[j, i] = cov[i, j]
        cov[i, i] = max(cov[i, i], 0.0)
        watch[i] = math.copysign(math.sqrt(lost * cov[i, i]), watch[i])
    return lost


@part
def carry_back(size: Size, transition: Array, score: Array, information: Array, shift: Array, work: Array) -> None:
    """Take score r and information N, in place, back through the transition: F'r and F'N F, exactly symmetric."""
    d = len(size)
    multiply(size, information, transition, work)
    for i in range(d):
        shift[i] = 0.0
        for j in range(d):
            shift[i] += transition[j, i] * score[j]
    copy_vector(size, shift, score)
    for i in range(d):
        for j in range(i + 1):
            total, mirrored = 0.0, 0.0
            for k in range(d):
                total += transition[k, i] * work[k, j]
                mirrored += transition[k, j] * work[k, i]
            information[i, j] = 0.5 * (total + mirrored)
            information[j, i] = information[i, j]


@part
def multiply(size: Size, left: Array, right: Array, product: Array) -> None:
    """Fill `product` with left times right, d by d each."""
    d = len(size)
    for i in range(d):
        for j in range(d):
            total = 0.0
            for k in range(d):
                total += left[i, k] * right[k, j]
            product[i, j] = total
