"""From rows of p values to as few independent scalar observations as carry all that they say of the state."""

from __future__ import annotations

import numpy as np

from kalman_em.arrays import Array, BoolArray, IntArray
from kalman_em.compiled import kernel
from kalman_em.inference.steps import LOG_2PI, ldl


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
    n_groups = len(group_rows)
    p, d = matrix.shape[1:]
    seen = ~np.isnan(values[group_rows])
    n_observed = seen.sum(axis=1)
    # The observed columns of each group first, in order.
    observed = np.argsort(~seen, axis=1, kind="stable")
    # Without correlations there is nothing to factor, and no p by p matrix a group to keep.
    is_diagonal = np.count_nonzero(cov) == np.count_nonzero(np.diagonal(cov, axis1=1, axis2=2))
    lower = np.zeros((n_groups, 0, 0) if is_diagonal else (n_groups, p, p))
    rows, variances = np.zeros((n_groups, p, d)), np.zeros((n_groups, p))
    block = np.empty((0, 0) if is_diagonal else (p, p))
    whiten_groups(matrix, cov, group_matrix, group_cov, observed, n_observed, block, lower, variances, rows)
    turned, deviations, turns, constants = _turned(rows, variances, n_observed)
    counts = np.where(turned, d, n_observed)
    width = int(counts.max(initial=1))
    reduced, leftover = np.zeros((len(values), width)), np.zeros(len(values))
    whiten_rows(
        values,
        offset,
        offset_index,
        group_index,
        observed,
        n_observed,
        lower,
        turned,
        deviations,
        turns,
        constants,
        np.empty(p),
        reduced,
        leftover,
    )
    return (
        reduced,
        np.ascontiguousarray(rows[:, :width]),
        np.ascontiguousarray(variances[:, :width]),
        counts,
        leftover,
    )


def _turned(rows: Array, variances: Array, n_observed: IntArray) -> tuple[BoolArray, Array, Array, Array]:
    """Bring groups of more rows than states to unit variance and turn them onto d, in place.

    Returns which groups those are, their old standard deviations (n_groups, p), the orthogonal columns (n_groups, p, d)
    and the log of the constant that it costs (n_groups,).
    """
    n_groups, p, d = rows.shape
    is_behind = np.arange(p) >= n_observed[:, None]
    turned = (n_observed > d) & np.all((variances > 0.0) | is_behind, axis=1)
    deviations, constants = np.ones((n_groups, p)), np.zeros(n_groups)
    turns = np.zeros((n_groups if turned.any() else 0, p, d))
    if turned.any():
        deviations[turned] = np.sqrt(np.where(is_behind, 1.0, variances)[turned])
        constants[turned] = -0.5 * (n_observed[turned] - d) * LOG_2PI - np.log(deviations[turned]).sum(axis=1)
        turns[turned], triangles = np.linalg.qr(rows[turned] / deviations[turned][:, :, None])
        rows[turned] = 0.0
        rows[turned, :d] = triangles
        variances[turned] = np.where(is_behind, 0.0, 1.0)[turned]
    return turned, deviations, turns, constants


@kernel
def whiten_groups(
    matrix: Array,
    cov: Array,
    group_matrix: IntArray,
    group_cov: IntArray,
    observed: IntArray,
    n_observed: IntArray,
    block: Array,
    lower: Array,
    variances: Array,
    rows: Array,
) -> None:
    """Factor R_oo = L D L' of each group into `lower` and `variances`, and fill `rows` with L^-1 H_o.

    A `block` of no size says that R has no correlations.
    """
    d = matrix.shape[2]
    is_diagonal = block.shape[0] == 0
    for g in range(observed.shape[0]):
        n = n_observed[g]
        H, R = group_matrix[g], group_cov[g]
        if not is_diagonal:
            for i in range(n):
                for j in range(n):
                    block[i, j] = cov[R, observed[g, i], observed[g, j]]
            ldl(n, block, lower[g], variances[g])
        for i in range(n):
            if is_diagonal:
                variances[g, i] = cov[R, observed[g, i], observed[g, i]]
            for k in range(d):
                rows[g, i, k] = matrix[H, observed[g, i], k]
            if not is_diagonal:
                for j in range(i):
                    for k in range(d):
                        rows[g, i, k] -= lower[g, i, j] * rows[g, j, k]


@kernel
def whiten_rows(
    values: Array,
    offset: Array,
    offset_index: IntArray,
    group_index: IntArray,
    observed: IntArray,
    n_observed: IntArray,
    lower: Array,
    turned: BoolArray,
    deviations: Array,
    turns: Array,
    constants: Array,
    white: Array,
    reduced: Array,
    leftover: Array,
) -> None:
    """Fill `reduced` with L^-1 (y_o - d_o), turned where the group is, and `leftover`; both come as zeros."""
    is_diagonal = lower.shape[1] == 0
    d = turns.shape[2]
    for t in range(values.shape[0]):
        g, c = group_index[t], offset_index[t]
        n = n_observed[g]
        for i in range(n):
            total = values[t, observed[g, i]] - offset[c, observed[g, i]]
            if not is_diagonal:
                for j in range(i):
                    total -= lower[g, i, j] * white[j]
            white[i] = total
        if not turned[g]:
            for i in range(n):
                reduced[t, i] = white[i]
            continue
        for i in range(n):
            white[i] /= deviations[g, i]
            for k in range(d):
                reduced[t, k] += turns[g, i, k] * white[i]
        # The squares of what is left, not the difference of two squares: values may be far from 0.
        square = 0.0
        for i in range(n):
            rest = white[i]
            for k in range(d):
                rest -= turns[g, i, k] * reduced[t, k]
            square += rest * rest
        leftover[t] = constants[g] - 0.5 * square
