"""The gain of a step back of the smoother, compiled: from an inverse where that keeps its digits, else by updates."""

from __future__ import annotations

import numpy as np

from kalman_em.arrays import Array
from kalman_em.compiled import inlined, kernel, part
from kalman_em.inference.kernel_arrays import BackwardSpace, Filtered, Transitions
from kalman_em.inference.steady import forget_pace
from kalman_em.inference.steps import Size, copy_matrix, smooth_step, udu, whiten_rows
from kalman_em.vectors import multiply, multiply_crossed, solve_factored

# The entries of `BackwardSpace.place`.
FACTORS_LEFT, WHITE_F, WHITE_Q, GAIN_P, GAIN_F, GAIN_Q, IS_STEADY, IS_WATCHED, HAS_LOST = 0, 1, 2, 3, 4, 5, 6, 7, 8


@inlined
def new_gain(
    size: Size, t: int, transitions: Transitions, filtered: Filtered, next_cov: Array, space: BackwardSpace
) -> bool:
    """Find the gain of the step back to row t by updates; return whether x[t] is determined at all."""
    place = space.place
    k, f, q = filtered.cov_index[t], transitions.matrix_index[t], transitions.noise_index[t]
    # An int64, as in the filter: kernels are compiled for types.
    n_columns = filtered.columns[t] + 0
    forget_pace(space.pace)
    place[GAIN_P], place[GAIN_F], place[GAIN_Q], place[IS_STEADY] = k, f, q, 0
    if f != place[WHITE_F] or q != place[WHITE_Q]:
        place[WHITE_F], place[WHITE_Q] = f, q
        whiten_rows(size, space.upper[q], transitions.matrix[f], space.whitened)
    if n_columns > 0:
        place[FACTORS_LEFT] -= 1
        copy_matrix(size, filtered.factors[place[FACTORS_LEFT]], space.factor)
    left, is_lossy = smooth_step(
        size,
        space.whitened,
        space.upper[q],
        space.pivots[q],
        filtered.filtered_covs[k],
        next_cov,
        space.factor,
        n_columns,
        space.lossless[0],
        space.gain,
        space.conditional,
        space.work,
    )
    if is_lossy:
        place[HAS_LOST] = 1
    return left == 0


@inlined
def is_ample(
    size: Size, predicted_cov: Array, noise_pivots: Array, lossless: float, upper: Array, pivots: Array
) -> bool:
    """Whether noise gives more than the part `lossless` of every pivot of Pp = U D U'; fill U and D if so."""
    d = len(size)
    for j in range(d - 1, -1, -1):
        pivot = predicted_cov[j, j]
        for k in range(j + 1, d):
            pivot -= upper[j, k] * upper[j, k] * pivots[k]
        if not (pivot > lossless * predicted_cov[j, j] and noise_pivots[j] > lossless * pivot):
            return False
        pivots[j] = pivot
        inverse = 1.0 / pivot
        for i in range(j):
            entry = predicted_cov[i, j]
            for k in range(j + 1, d):
                entry -= upper[i, k] * upper[j, k] * pivots[k]
            upper[i, j] = entry * inverse
    return True


@inlined
def plain_gain(
    size: Size,
    transition: Array,
    filtered_cov: Array,
    predicted_cov: Array,
    noise_pivots: Array,
    lossless: float,
    turned_gain: Array,
    moved: Array,
    upper: Array,
    pivots: Array,
) -> bool:
    """Fill G', the gain G = P F' Pp^-1 turned, and F P in `moved`, from the factors of the predicted Pp = U D U'.

    Return False, for the updates of `smooth_step` to take over, unless the pivots D are well above rounding and the
    noise Q gives more than the part `lossless` of every one. Then I - F G = Q Pp^-1 is so far from 0 that neither P - G
    F P nor what a step carries back loses more digits than the plain differences of the filter. The pivots of Pp are
    the spreads of x[t+1] as d scalars, one after another: the test is the one that `condition` makes.
    """
    d = len(size)
    if not is_ample(size, predicted_cov, noise_pivots, lossless, upper, pivots):
        return False
    for i in range(d):
        pivots[i] = 1.0 / pivots[i]
    if not isinstance(size, tuple):
        wide_gain(size, transition, filtered_cov, turned_gain, moved, upper, pivots)
        return True
    multiply(size, None, transition, filtered_cov, moved)
    solve_factored(size, upper, pivots, moved, turned_gain)
    return True


@part
def wide_gain(
    size: Size, transition: Array, filtered_cov: Array, gain: Array, moved: Array, upper: Array, pivots: Array
) -> None:
    """Fill F P and G' for many states: what is added goes along rows, which needs no order and no long strides.

    `pivots` are the inverses of D.
    """
    d = len(size)
    # X = Pp^-1 F P = G', row by row.
    for i in range(d - 1, -1, -1):
        for j in range(d):
            moved[i, j] = 0.0
        for k in range(d):
            for j in range(d):
                moved[i, j] += transition[i, k] * filtered_cov[k, j]
        for j in range(d):
            gain[i, j] = moved[i, j]
        for k in range(i + 1, d):
            for j in range(d):
                gain[i, j] -= upper[i, k] * gain[k, j]
    for i in range(d):
        for j in range(d):
            gain[i, j] *= pivots[i]
        for k in range(i):
            for j in range(d):
                gain[i, j] -= upper[k, i] * gain[k, j]


@inlined
def plain_cov(
    size: Size,
    filtered_cov: Array,
    moved: Array,
    turned_gain: Array,
    next_cov: Array,
    change: Array,
    lag_one: Array,
    cov: Array,
) -> None:
    """Fill `lag_one` with V[t+1] G' and `cov` with P + G (V[t+1] G' - F P), where G Pp = (F P)'; `change` is scratch.

    `cov` may be `next_cov`.
    """
    d = len(size)
    if not isinstance(size, tuple):
        wide_cov(size, filtered_cov, moved, turned_gain, next_cov, lag_one, cov)
        return
    multiply(size, None, next_cov, turned_gain, lag_one)
    for i in range(d):
        for j in range(d):
            change[i, j] = lag_one[i, j] - moved[i, j]
    multiply_crossed(size, filtered_cov, turned_gain, change, cov)
    for i in range(d):
        for j in range(i):
            cov[j, i] = cov[i, j]


@part
def wide_cov(
    size: Size, filtered_cov: Array, moved: Array, turned_gain: Array, next_cov: Array, lag_one: Array, cov: Array
) -> None:
    """Fill what `plain_cov` does for many states, along rows."""
    d = len(size)
    for i in range(d):
        for j in range(d):
            lag_one[i, j] = 0.0
        for k in range(d):
            for j in range(d):
                lag_one[i, j] += next_cov[i, k] * turned_gain[k, j]
    for i in range(d):
        for j in range(i + 1):
            cov[i, j] = filtered_cov[i, j]
        for k in range(d):
            for j in range(i + 1):
                cov[i, j] += turned_gain[k, i] * (lag_one[k, j] - moved[k, j])
        for j in range(i):
            cov[j, i] = cov[i, j]


def factor_covs(covs: Array) -> tuple[Array, Array]:
    """Return U (n, d, d) and D (n, d) of every covariance U D U' of a table."""
    if covs.shape[1] == 1:
        # Nothing to compile for: the first fit of all may well be of one state.
        return np.ones(covs.shape), np.maximum(covs[:, :, 0], 0.0)
    upper, pivots = np.zeros(covs.shape), np.zeros(covs.shape[:2])
    factor_each(covs, upper, pivots)
    return upper, pivots


@kernel
def factor_each(covs: Array, upper: Array, pivots: Array) -> None:
    """Fill U and D of every covariance U D U' of a table."""
    for i in range(covs.shape[0]):
        udu(covs.shape[1], covs[i], upper[i], pivots[i])
