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

from kalman_em.arrays import Array, IntArray
from kalman_em.compiled import compiled
from kalman_em.inference.kernel_arrays import BackwardSpace, Filtered, Scalars, Transitions
from kalman_em.inference.steps import (
    empty_work,
    joseph,
    ldl,
    regular_gain,
    smooth_step,
    smoothed_cov,
    whiten_rows,
)

EPSILON = 2.2e-16
# The plain form is given up where rounding may have grown by this factor (an error of 1e-11 of a variance).
MAX_GROWTH = 5e4
RESOLVED, UNRESOLVED, ROUNDED = 0, 1, 2


@compiled
def backward_space(transitions: Transitions, columns: IntArray, state_dim: int) -> BackwardSpace:
    """Return the space for a pass back over rows whose filter left these diffuse `columns`."""
    lower, pivots = factor_covs(transitions.noise_cov)
    return BackwardSpace(
        lower,
        pivots,
        np.empty((state_dim, state_dim)),
        np.empty((state_dim, state_dim)),
        np.empty((state_dim, state_dim)),
        np.empty((state_dim, state_dim)),
        np.zeros((state_dim, state_dim)),
        np.zeros((state_dim, state_dim)),
        np.zeros(state_dim),
        np.zeros(state_dim),
        empty_work(state_dim),
        np.array([np.count_nonzero(columns), -1, -1]),
    )


@compiled
def begin_series(space: BackwardSpace) -> None:
    """Forget the later observations: a series ends here."""
    space.score[:] = 0.0
    space.information[:, :] = 0.0
    space.watch[:] = 0.0


@compiled
def move_back(
    t: int,
    transitions: Transitions,
    scalars: Scalars,
    filtered: Filtered,
    is_guarded: bool,
    space: BackwardSpace,
    next_mean: Array,
    next_cov: Array,
    mean: Array,
    cov: Array,
) -> int:
    """Fill `mean` and `cov` with the smoothed moments of row t from those of row t+1; return a status.

    Leaves the smoother gain, Cov[x[t] | x[t+1], y[0..t]] and Cov[x[t+1], x[t] | all y] in `space`. UNRESOLVED: later
    observations do not determine x[t]. ROUNDED: rounding has grown too far, and the pass must begin anew with
    `is_guarded`, which carries the dual form beside the plain one.
    """
    f, q = transitions.matrix_index[t], transitions.noise_index[t]
    if f != space.place[1] or q != space.place[2]:
        space.place[1], space.place[2] = f, q
        whiten_rows(space.lower[q], transitions.matrix[f], space.whitened)
    is_diffuse = filtered.columns[t] > 0
    if is_diffuse:
        space.place[0] -= 1
        space.factor[:, :] = filtered.factors[space.place[0]]
    left = step_back(
        space.whitened,
        space.lower[q],
        space.pivots[q],
        filtered.filtered_means[t],
        filtered.filtered_covs[t],
        filtered.predicted_means[t + 1],
        space.factor,
        filtered.columns[t],
        next_mean,
        next_cov,
        space.gain,
        space.conditional,
        space.lag_one,
        mean,
        cov,
        space.work,
    )
    if left > 0:
        return UNRESOLVED
    grown = growth(space.gain, cov, t, space.watch, space.work)
    if is_diffuse:
        return RESOLVED
    if not is_guarded:
        return ROUNDED if grown > MAX_GROWTH else RESOLVED
    g = scalars.group_index[t + 1]
    information_before(
        scalars.h[g],
        scalars.values[t + 1],
        scalars.variances[g],
        scalars.counts[g],
        scalars.prior_means[t + 1],
        filtered.predicted_covs[t + 1],
        space.score,
        space.information,
    )
    dual_step(
        transitions.matrix[f],
        filtered.filtered_means[t],
        filtered.filtered_covs[t],
        filtered.predicted_covs[t + 1],
        space.score,
        space.information,
        space.watch,
        grown,
        space.lag_one,
        mean,
        cov,
    )
    return RESOLVED


@compiled
def factor_covs(covs: Array) -> tuple[Array, Array]:
    """Return L (n, d, d) and D (n, d) of every covariance L D L' of a table."""
    lower = np.zeros(covs.shape)
    pivots = np.zeros(covs.shape[:2])
    for i in range(covs.shape[0]):
        ldl(covs[i], lower[i], pivots[i])
    return lower, pivots


@compiled
def step_back(
    rows: Array,
    lower: Array,
    pivots: Array,
    filtered_mean: Array,
    filtered_cov: Array,
    predicted_mean: Array,
    factor: Array,
    n_columns: int,
    next_mean: Array,
    next_cov: Array,
    gain: Array,
    conditional: Array,
    lag_one: Array,
    mean: Array,
    cov: Array,
    work: Array,
) -> int:
    """Fill `gain`, `conditional`, `lag_one`, `mean` and `cov` for step t from the smoothed moments of t+1.

    Returns the number of diffuse columns left: not 0 where later observations do not resolve x[t].
    """
    d = filtered_mean.shape[0]
    left = smooth_step(rows, lower, pivots, filtered_cov, factor, n_columns, gain, conditional, work)
    if left > 0:
        return left
    for i in range(d):
        total = filtered_mean[i]
        for j in range(d):
            total += gain[i, j] * (next_mean[j] - predicted_mean[j])
        mean[i] = total
    smoothed_cov(gain, next_cov, conditional, lag_one, cov)
    return 0


@compiled
def growth(gain: Array, cov: Array, step: int, watch: Array, work: Array) -> float:
    """Carry the watch one step back and return its largest square in units of the variances.

    The watch w is a vector of errors, each fresh one as large as the standard deviation: w[t] = G w[t+1] + signs
    times sd. Its square over the variance is the factor by which rounding of a covariance may have grown.
    """
    d = gain.shape[0]
    for i in range(d):
        total = 0.0
        for j in range(d):
            total += gain[i, j] * watch[j]
        work[0, i] = total
    largest = 0.0
    for i in range(d):
        # Fixed signs without a pattern that a gain could cancel.
        sign = 1.0 if math.sin(12.9898 * (step + 1) + 78.233 * (i + 1)) > 0.0 else -1.0
        watch[i] = work[0, i] + sign * math.sqrt(max(cov[i, i], 0.0))
        if cov[i, i] > 0.0:
            largest = max(largest, watch[i] * watch[i] / cov[i, i])
    return largest


@compiled
def information_before(
    h: Array,
    values: Array,
    variances: Array,
    count: int,
    prior_mean: Array,
    predicted_cov: Array,
    score: Array,
    information: Array,
) -> None:
    """Take the score r and information N, in place, from after the observations of a row to before them.

    r <- h v / s + L'r and N <- h h' / s + L'N L with L = I - K h', for each scalar observation, last to first.
    """
    d = prior_mean.shape[0]
    mean, cov = prior_mean.copy(), predicted_cov.copy()
    gains, row, product = np.zeros((count, d)), np.zeros(d), np.zeros(d)
    errors, spreads = np.zeros(count), np.zeros(count)
    for i in range(count):
        error = values[i]
        for j in range(d):
            error -= h[i, j] * mean[j]
        errors[i] = error
        spreads[i] = regular_gain(h[i], variances[i], cov, predicted_cov, gains[i])
        if spreads[i] > 0.0:
            for j in range(d):
                mean[j] += gains[i, j] * error
            joseph(h[i], gains[i], variances[i], cov, row)
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


@compiled
def dual_step(
    transition: Array,
    filtered_mean: Array,
    filtered_cov: Array,
    predicted_cov: Array,
    score: Array,
    information: Array,
    watch: Array,
    grown: float,
    lag_one: Array,
    mean: Array,
    cov: Array,
) -> None:
    """Take score and information back through the transition, and use them if that is the more accurate form.

    m + P r, P - P N P and (I - P[t+1] N[t+1]) F P, with P filtered at t and P[t+1] predicted. `lag_one`, `mean`
    and `cov` come holding the plain form, and `grown` its rounding; the watch begins anew where they are replaced.
    """
    d = filtered_mean.shape[0]
    moved = transition @ filtered_cov
    before = information @ moved
    lag = moved - predicted_cov @ before
    score[:] = transition.T @ score
    information[:, :] = transition.T @ information @ transition
    for i in range(d):
        for j in range(i):
            information[i, j] = 0.5 * (information[i, j] + information[j, i])
            information[j, i] = information[i, j]
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
        return
    smaller = filtered_cov @ information @ filtered_cov
    shift = filtered_cov @ score
    for i in range(d):
        mean[i] = filtered_mean[i] + shift[i]
        for j in range(d):
            lag_one[i, j] = lag[i, j]
        for j in range(i + 1):
            cov[i, j] = filtered_cov[i, j] - 0.5 * (smaller[i, j] + smaller[j, i])
            cov[j, i] = cov[i, j]
        cov[i, i] = max(cov[i, i], 0.0)
        watch[i] = math.copysign(math.sqrt(lost * cov[i, i]), watch[i])
