"""From rows of p values to as few independent scalar observations as carry all that they say of the state."""

from __future__ import annotations

import math

import numpy as np

from kalman_em.arrays import Array, IntArray
from kalman_em.compiled import compiled
from kalman_em.inference.steps import LOG_2PI, ldl


@compiled
def reduce_observations(
    values: Array,
    offset: Array,
    offset_index: IntArray,
    group_index: IntArray,
    group_rows: IntArray,
    group_matrix: IntArray,
    group_cov: IntArray,
    matrix: Array,
    cov: Array,
) -> tuple[Array, Array, Array, IntArray, Array]:
    """Turn each row into independent scalar observations y = h'x + noise.

    Rows that share their missing pattern, H and R form a group, for which R_oo = L D L' is factored once; then
    L^-1 (y_o - d_o) has independent noise of variances D. Where that leaves more scalars than states, and D has no
    zero, the rows D^-1/2 L^-1 H are turned onto at most d of them by an orthogonal matrix (a QR decomposition): the
    others see noise alone, and give the likelihood a term without the state.

    Returns the reduced values (N, m), rows of H (n_groups, m, d), variances (n_groups, m), counts (n_groups,) and
    the leftover log-likelihood of each row (N,), m at most p.

    References
    ----------
    Durbin and Koopman, Time Series Analysis by State Space Methods, 2nd ed. 2012, sections 6.4 and 6.5; Jungbacker
    and Koopman, Likelihood-based dynamic factor analysis, Econometrics Journal 18 (2015), section 2.
    """
    n_groups = group_rows.shape[0]
    p, d = matrix.shape[1], matrix.shape[2]
    rows = np.zeros((n_groups, p, d))
    variances = np.zeros((n_groups, p))
    counts = np.zeros(n_groups, dtype=np.int64)
    observed = np.zeros((n_groups, p), dtype=np.int64)
    n_observed = np.zeros(n_groups, dtype=np.int64)
    lower = np.zeros((n_groups, p, p))
    deviations = np.ones((n_groups, p))
    turns = np.zeros((n_groups, p, min(p, d)))
    constants = np.zeros(n_groups)
    block = np.zeros((p, p))
    for g in range(n_groups):
        n = observed_columns(values[group_rows[g]], observed[g])
        n_observed[g] = n
        counts[g] = n
        whiten_group(matrix[group_matrix[g]], cov[group_cov[g]], observed[g], n, block, lower[g], variances[g], rows[g])
        if n > d and np.all(variances[g, :n] > 0.0):
            constants[g] = turn(rows[g], variances[g], deviations[g], turns[g], n, d)
            counts[g] = d
    reduced = np.zeros(values.shape)
    leftover = np.zeros(values.shape[0])
    white = np.zeros(p)
    for t in range(values.shape[0]):
        g = group_index[t]
        n = n_observed[g]
        whiten_row(values[t], offset[offset_index[t]], observed[g], n, lower[g], white)
        if counts[g] == n:
            reduced[t, :n] = white[:n]
        else:
            leftover[t] = constants[g] - 0.5 * turn_row(white, deviations[g], turns[g], n, d, reduced[t])
    return reduced, rows, variances, counts, leftover


@compiled
def observed_columns(row: Array, observed: IntArray) -> int:
    """Fill `observed` with the columns of a row that are not missing; return how many they are."""
    n = 0
    for i in range(row.shape[0]):
        if not np.isnan(row[i]):
            observed[n] = i
            n += 1
    return n


@compiled
def whiten_group(
    H: Array, R: Array, observed: IntArray, n: int, block: Array, lower: Array, variances: Array, rows: Array
) -> None:
    """Factor R_oo = L D L' into `lower` and `variances`, and fill `rows` with L^-1 H_o; `block` is scratch."""
    for i in range(n):
        for j in range(n):
            block[i, j] = R[observed[i], observed[j]]
    ldl(block[:n, :n], lower, variances)
    for i in range(n):
        for k in range(H.shape[1]):
            total = H[observed[i], k]
            for j in range(i):
                total -= lower[i, j] * rows[j, k]
            rows[i, k] = total


@compiled
def whiten_row(row: Array, offset: Array, observed: IntArray, n: int, lower: Array, white: Array) -> None:
    """Fill `white` with L^-1 (y_o - d_o) of a row y."""
    for i in range(n):
        total = row[observed[i]] - offset[observed[i]]
        for j in range(i):
            total -= lower[i, j] * white[j]
        white[i] = total


@compiled
def turn(rows: Array, variances: Array, deviations: Array, turns: Array, n: int, d: int) -> float:
    """Bring n rows to unit variance and turn them onto d, in place; return the log of the constant this costs.

    Fills `deviations` with the old standard deviations and `turns` with the orthogonal columns Q (n, d).
    """
    constant = -0.5 * (n - d) * LOG_2PI
    for i in range(n):
        deviations[i] = math.sqrt(variances[i])
        constant -= math.log(deviations[i])
        for k in range(d):
            rows[i, k] /= deviations[i]
        variances[i] = 1.0
    orthogonal, triangle = np.linalg.qr(rows[:n])
    turns[:n] = orthogonal
    rows[:, :] = 0.0
    rows[:d] = triangle
    return constant


@compiled
def turn_row(white: Array, deviations: Array, turns: Array, n: int, d: int, reduced: Array) -> float:
    """Turn n whitened values onto d, into `reduced` (zeros at first); return the sum of squares of what is left.

    `white` is brought to unit variance in place.
    """
    for i in range(n):
        white[i] /= deviations[i]
    for k in range(d):
        for i in range(n):
            reduced[k] += turns[i, k] * white[i]
    # The squares of what is left, not the difference of two squares: values may be far from 0.
    square = 0.0
    for i in range(n):
        rest = white[i]
        for k in range(d):
            rest -= turns[i, k] * reduced[k]
        square += rest * rest
    return square
