"""One step back of the smoother, compiled, with a watch on its rounding and a second form for where that grows.

The Rauch-Tung-Striebel step passes V[t+1] through the smoother gain. Directions that no noise enters are then
carried back by the inverse of the transition, and where the transition contracts, rounding grows at every step.
There the dual form (de Jong 1989; Durbin and Koopman 2012, equations (4.44)) takes over: it carries back the
information that later observations give, by the transpose of the transition, and applies it to the filtered moments.
The dual form in its turn loses the digits by which a large filtered variance exceeds a small smoothed one, so
each step uses the form with the smaller bound on its error.
"""

from __future__ import annotations

import math

import numpy as np

from kalman_em.arrays import Array
from kalman_em.compiled import inlined, kernel
from kalman_em.inference.kernel_arrays import LAST_SIGN, BackwardSpace, Filtered, GuardSpace, Scalars, Transitions
from kalman_em.inference.numerics import LOST_IN_SMOOTHING
from kalman_em.inference.steady import forget_pace, has_settled
from kalman_em.inference.steps import (
    Size,
    copy_matrix,
    copy_vector,
    joseph,
    regular_gain,
    smooth_step,
    smoothed_cov,
    udu,
    whiten_rows,
)

EPSILON = 2.2e-16
# The plain form is given up where rounding may have grown by this factor (an error of 1e-11 of a variance).
MAX_GROWTH = 5e4
# A smoothed variance above this many filtered ones, and this part of the predicted one, is rounding.
MORE, LITTLE = 1.0 + 1e-9, 1e-12
RESOLVED, UNRESOLVED, ROUNDED = 0, 1, 2
# The entries of `BackwardSpace.place`.
FACTORS_LEFT, WHITE_F, WHITE_Q, GAIN_P, GAIN_F, GAIN_Q, IS_STEADY, HAS_LOST = 0, 1, 2, 3, 4, 5, 6, 7


@kernel
def begin_series(size: Size, guard: GuardSpace | None, space: BackwardSpace) -> None:
    """Forget the later observations: a series ends here."""
    d = len(size)
    for i in range(d):
        space.watch[i] = 0.0
    if guard is not None:
        for i in range(d):
            guard.score[i] = 0.0
            for j in range(d):
                guard.information[i, j] = 0.0
    space.place[GAIN_P], space.place[GAIN_F], space.place[GAIN_Q] = -1, -1, -1
    space.place[IS_STEADY] = 0


@inlined
def move_back(
    size: Size,
    t: int,
    transitions: Transitions,
    scalars: Scalars,
    filtered: Filtered,
    guard: GuardSpace | None,
    space: BackwardSpace,
    next_mean: Array,
    next_cov: Array,
    mean: Array,
    cov: Array,
) -> int:
    """Fill `mean` and `cov` with the smoothed moments of row t from those of row t+1; return a status.

    Leaves the smoother gain, Cov[x[t] | x[t+1], y[0..t]] and Cov[x[t+1], x[t] | all y] in `space`. Where filter and
    smoother have converged, `place[IS_STEADY]` is 1 and these stay as they are: `cov` is then a copy of `next_cov`.
    UNRESOLVED: later observations do not determine x[t]. ROUNDED: rounding has grown too far, and the pass must begin
    anew with a `guard`, which carries the dual form beside the plain one.
    """
    d = len(size)
    place = space.place
    f, q, k = transitions.matrix_index[t], transitions.noise_index[t], filtered.cov_index[t]
    is_same = k == place[GAIN_P] and f == place[GAIN_F] and q == place[GAIN_Q]
    is_diffuse = filtered.columns[t] > 0
    if not is_same or is_diffuse:
        place[IS_STEADY] = 0
        if f != place[WHITE_F] or q != place[WHITE_Q]:
            place[WHITE_F], place[WHITE_Q] = f, q
            whiten_rows(size, space.upper[q], transitions.matrix[f], space.whitened)
        if is_diffuse:
            place[FACTORS_LEFT] -= 1
            copy_matrix(size, filtered.factors[place[FACTORS_LEFT]], space.factor)
        left = smooth_step(
            size,
            space.whitened,
            space.upper[q],
            space.pivots[q],
            filtered.filtered_covs[k],
            space.factor,
            filtered.columns[t],
            space.lossless[0],
            space.gain,
            space.conditional,
            space.work,
        )
        if left > 0:
            return UNRESOLVED
        place[GAIN_P], place[GAIN_F], place[GAIN_Q] = k, f, q
        forget_pace(space.pace)
    for i in range(d):
        total = filtered.filtered_means[t, i]
        for j in range(d):
            total += space.gain[i, j] * (next_mean[j] - filtered.predicted_means[t + 1, j])
        mean[i] = total
    if place[IS_STEADY] == 1:
        copy_matrix(size, next_cov, cov)
    else:
        smoothed_cov(size, space.gain, next_cov, space.conditional, space.lag_one, cov)
        for i in range(d):
            variance = max(cov[i, i], 0.0)
            space.deviations[i] = math.sqrt(variance)
            space.precisions[i] = 1.0 / variance if variance > 0.0 else 0.0
        if is_same and guard is None and has_settled(size, next_cov, cov, space.pace):
            place[IS_STEADY] = 1
    grown = growth(size, space.gain, space.deviations, space.precisions, space.signs, t, space.watch, space.work)
    if is_diffuse:
        if grown > LOST_IN_SMOOTHING:
            place[HAS_LOST] = 1
        return RESOLVED
    # More data never leave more variance: where they seem to, it is rounding, whatever the watch says.
    for i in range(d):
        if cov[i, i] > MORE * filtered.filtered_covs[k, i, i] + LITTLE * filtered.predicted_covs[k, i, i]:
            grown = math.inf
        if filtered.filtered_covs[k, i, i] > LOST_IN_SMOOTHING * cov[i, i] and cov[i, i] != 0.0:
            place[HAS_LOST] = 1
    if guard is None:
        return ROUNDED if grown > MAX_GROWTH else RESOLVED
    g = scalars.group_index[t + 1]
    information_before(
        size,
        scalars.h[g],
        scalars.values[t + 1],
        scalars.variances[g],
        scalars.counts[g],
        scalars.prior_means[t + 1],
        filtered.predicted_covs[filtered.cov_index[t + 1]],
        guard,
    )
    rounding = dual_step(
        size,
        transitions.matrix[f],
        filtered.filtered_means[t],
        filtered.filtered_covs[k],
        filtered.predicted_covs[filtered.cov_index[t + 1]],
        guard,
        space.watch,
        grown,
        space.lag_one,
        mean,
        cov,
    )
    if rounding > LOST_IN_SMOOTHING:
        place[HAS_LOST] = 1
    return RESOLVED


def factor_covs(covs: Array) -> tuple[Array, Array]:
    """Return U (n, d, d) and D (n, d) of every covariance U D U' of a table."""
    upper, pivots = np.zeros(covs.shape), np.zeros(covs.shape[:2])
    factor_each(covs, upper, pivots)
    return upper, pivots


@kernel
def factor_each(covs: Array, upper: Array, pivots: Array) -> None:
    """Fill U and D of every covariance U D U' of a table."""
    for i in range(covs.shape[0]):
        udu(covs.shape[1], covs[i], upper[i], pivots[i])


@kernel
def growth(
    size: Size,
    gain: Array,
    deviations: Array,
    precisions: Array,
    signs: Array,
    step: int,
    watch: Array,
    work: Array,
) -> float:
    """Carry the watch one step back and return its largest square in units of the variances.

    The watch w is a vector of errors, each fresh one as large as the standard deviation: w[t] = G w[t+1] + signs
    times sd. Its square over the variance is the factor by which rounding of a covariance may have grown.
    """
    d = len(size)
    for i in range(d):
        total = 0.0
        for j in range(d):
            total += gain[i, j] * watch[j]
        work[0, i] = total
    largest = 0.0
    for i in range(d):
        watch[i] = work[0, i] + signs[step & LAST_SIGN, i] * deviations[i]
        largest = max(largest, watch[i] * watch[i] * precisions[i])
    return largest


@kernel
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


@kernel
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

    Returns the rounding of that form, by the factor it has grown.

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


@kernel
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


@kernel
def multiply(size: Size, left: Array, right: Array, product: Array) -> None:
    """Fill `product` with left times right, d by d each."""
    d = len(size)
    for i in range(d):
        for j in range(d):
            total = 0.0
            for k in range(d):
                total += left[i, k] * right[k, j]
            product[i, j] = total
