"""The observations' sums of EM over rows of many values, by matrix products over many rows at a time.

With the smoothed means at hand these are sums over rows alone: no order is needed. Missing values are expected as they
are added up (`kalman_em.models.completion` has the equations), so that many patterns cost no sums of their own.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kalman_em.arrays import Array, BoolArray, IntArray
from kalman_em.inference.blocks import BLOCK, FEWEST_ROWS, WIDE, row_blocks, rows_of_groups
from kalman_em.inference.rows import Rows, SystemRows
from kalman_em.linalg import has_correlations, solve_symmetric, symmetrised

# A correlation matrix with a pivot below this is solved with as a singular one.
SINGULAR = 1e-10


class ObservationSums(NamedTuple):
    """E[e e'], E[e z'], E[z z'] and the number of rows, by entry of the table of R, of complete rows.

    `residual` (n, p, p), or (n, p) where the diagonal was enough.
    """

    residual: Array
    cross: Array
    regressor: Array
    n_rows: Array


def are_wide(laid: SystemRows, rows: Rows) -> bool:
    """Whether the rows have enough columns, and share their R enough, to be added up here."""
    p = rows.values.shape[1]
    return p >= WIDE and len(laid.observation_cov.entries) * FEWEST_ROWS <= rows.n_rows


def add_up(
    laid: SystemRows, rows: Rows, means: Array, group_covs: Array, group_counts: Array, *, diagonal: bool
) -> ObservationSums:
    """Return the sums from the smoothed means (N, d) and, by group, the sums of smoothed covariances and the counts.

    With `diagonal` only the diagonals of E[e e'] are kept: p numbers in the place of p squared, and no work in p
    squared. That needs a diagonal R.
    """
    p, d = laid.observation.entries.shape[1:]
    n, r = len(laid.observation_cov.entries), d + 1 + _n_inputs(rows)
    sums = ObservationSums(
        np.zeros((n, p) if diagonal else (n, p, p)), np.zeros((n, p, r)), np.zeros((n, r, r)), np.zeros(n)
    )
    seen = rows.patterns[rows.pattern[laid.group_rows]]
    order, bounds = rows_of_groups(laid.group_index, len(laid.group_rows))
    entries = laid.observation_cov.index[laid.group_rows]
    for entry in range(n):
        R = laid.observation_cov.entries[entry]
        groups = np.flatnonzero((entries == entry) & (group_counts > 0.0))
        is_correlated = has_correlations(R)
        gappy = groups[~seen[groups].all(axis=1)] if is_correlated else groups[:0]
        plain = np.setdiff1d(groups, gappy)
        _add_plain(laid, rows, means, group_covs, group_counts, seen, plain, entry, sums)
        for some in _chunks(gappy, p * p):
            chosen = np.concatenate([order[bounds[g] : bounds[g + 1]] for g in some])
            _add_gappy(laid, rows, means, group_covs, group_counts, seen, some, _observed(rows, chosen), entry, sums)
    return sums


def _add_plain(
    laid: SystemRows,
    rows: Rows,
    means: Array,
    group_covs: Array,
    group_counts: Array,
    seen: BoolArray,
    groups: IntArray,
    entry: int,
    sums: ObservationSums,
) -> None:
    """Add groups whose missing values, if any, the others say nothing of: their residuals are 0, their variance R."""
    if len(groups) == 0:
        return
    belongs = np.zeros(len(laid.group_rows), dtype=bool)
    belongs[groups] = True
    chosen = np.arange(rows.n_rows) if belongs.all() else np.flatnonzero(belongs[laid.group_index])
    diagonal = sums.residual.ndim == 2
    for block in row_blocks(_observed(rows, chosen), rows.values.shape[1]):
        error, z = _residuals(laid, rows, means, block)
        if diagonal:
            sums.residual[entry] += np.einsum("ij,ij->j", error, error)
        else:
            sums.residual[entry] += error.T @ error
        _add_regressors(error, z, entry, sums)
    # The spread of the states: h_i (sum of V over the rows in which i was observed) h_i', and for a full R, H V H'.
    d = means.shape[1]
    R = laid.observation_cov.entries[entry]
    matrix_entry = laid.observation.index[laid.group_rows[groups]]
    for k in np.unique(matrix_entry):
        own = groups[matrix_entry == k]
        H = laid.observation.entries[k]
        if diagonal:
            spread = (seen[own].T.astype(np.float64) @ group_covs[own].reshape(len(own), d * d)).reshape(-1, d, d)
            pushed = np.einsum("pi,pij->pj", H, spread)
            sums.residual[entry] += np.einsum("pj,pj->p", pushed, H)
            sums.cross[entry, :, :d] -= pushed
        else:
            for some in _chunks(own, H.size):
                _add_spread(np.where(seen[some, :, None], H, 0.0), group_covs[some], entry, sums)
    missing = group_counts[groups] @ ~seen[groups]
    if diagonal:
        sums.residual[entry] += missing * np.diagonal(R)
    else:
        sums.residual[entry] += np.diag(missing * np.diagonal(R)) if missing.any() else 0.0
    sums.regressor[entry, :d, :d] += group_covs[groups].sum(axis=0)
    sums.n_rows[entry] += group_counts[groups].sum()


def _add_gappy(
    laid: SystemRows,
    rows: Rows,
    means: Array,
    group_covs: Array,
    group_counts: Array,
    seen: BoolArray,
    groups: IntArray,
    chosen: IntArray,
    entry: int,
    sums: ObservationSums,
) -> None:
    """Add groups with gaps that the observed values fill through the correlations of R."""
    d = means.shape[1]
    R = laid.observation_cov.entries[entry]
    lifts = _lifts(R, seen[groups])
    place = np.full(len(laid.group_rows), -1)
    place[groups] = np.arange(len(groups))
    for block in row_blocks(chosen, R.size):
        error, z = _residuals(laid, rows, means, block)
        if len(groups) == 1:
            error = error @ lifts[0].T
        else:
            error = np.matmul(lifts[place[laid.group_index[block]]], error[:, :, None])[:, :, 0]
        sums.residual[entry] += error.T @ error
        _add_regressors(error, z, entry, sums)
    H = laid.observation.entries[laid.observation.index[laid.group_rows[groups]]]
    _add_spread(lifts @ np.where(seen[groups, :, None], H, 0.0), group_covs[groups], entry, sums)
    # Given the observed values, a missing one varies by R_mm - R_mo R_oo^-1 R_om.
    left = R - lifts @ np.where(seen[groups, :, None], R, 0.0)
    missing = ~seen[groups]
    left *= missing[:, :, None] & missing[:, None, :]
    sums.residual[entry] += symmetrised(np.tensordot(group_counts[groups], left, axes=1))
    sums.regressor[entry, :d, :d] += group_covs[groups].sum(axis=0)
    sums.n_rows[entry] += group_counts[groups].sum()


def _lifts(R: Array, seen: BoolArray) -> Array:
    """Return, of each pattern (n, p), what makes all of e from its observed part: 1, and R_mo R_oo^-1 for the rest.

    The columns of what is missing are 0.
    """
    n, p = seen.shape
    both = seen[:, :, None] & seen[:, None, :]
    deviations = np.sqrt(np.diagonal(R))
    unit = np.where(deviations > 0.0, deviations, 1.0)
    scaled = R / unit[:, None] / unit[None, :]
    blocks = np.where(both, scaled, np.eye(p))
    right = np.where(seen[:, :, None], scaled, 0.0)
    lifts = np.zeros((n, p, p))
    sound = _are_sound(blocks)
    lifts[sound] = np.swapaxes(np.linalg.solve(blocks[sound], right[sound]), 1, 2)
    for k in np.flatnonzero(~sound):
        o = seen[k]
        lifts[k][:, o] = solve_symmetric(scaled[np.ix_(o, o)], scaled[o]).T
    lifts *= unit[:, None] / unit[None, :]
    exact = np.where(both, np.eye(p), 0.0)
    return np.where(seen[:, :, None], exact, lifts)


def _are_sound(correlations: Array) -> BoolArray:
    """Return which of the matrices (n, p, p) are far enough from singular to be solved with as they stand."""
    try:
        # The pivots of a correlation matrix: what the values before leave of each.
        pivots = np.diagonal(np.linalg.cholesky(correlations), axis1=1, axis2=2)
    except np.linalg.LinAlgError:
        return np.asarray(np.linalg.eigvalsh(correlations)[:, 0] > SINGULAR)
    return np.asarray(pivots.min(axis=1) ** 2 > SINGULAR)


def _add_spread(H: Array, covs: Array, entry: int, sums: ObservationSums) -> None:
    """Add the sums over groups of H V H' and -H V, for H (n, p, d) and V (n, d, d)."""
    d = covs.shape[1]
    pushed = H @ covs
    flat = np.swapaxes(pushed, 0, 1).reshape(H.shape[1], -1)
    sums.residual[entry] += symmetrised(flat @ np.swapaxes(H, 0, 1).reshape(H.shape[1], -1).T)
    sums.cross[entry, :, :d] -= pushed.sum(axis=0)


def _add_regressors(error: Array, z: Array, entry: int, sums: ObservationSums) -> None:
    sums.cross[entry] += error.T @ z
    sums.regressor[entry] += z.T @ z


def _residuals(laid: SystemRows, rows: Rows, means: Array, block: slice | IntArray) -> tuple[Array, Array]:
    """Return y - H x - d of some rows, 0 where missing, and their z = (x, 1, u)."""
    offset, H = laid.observation_offset, laid.observation
    error = rows.values[block] - offset.entries[0 if len(offset.entries) == 1 else offset.index[block]]
    x = means[block]
    if len(H.entries) == 1:
        error -= x @ H.entries[0].T
    else:
        error -= np.einsum("tij,tj->ti", H.entries[H.index[block]], x)
    error[np.isnan(error)] = 0.0
    one = np.ones((len(x), 1))
    z = np.hstack([x, one] if rows.inputs is None else [x, one, rows.inputs[block]])
    return error, z


def _observed(rows: Rows, chosen: IntArray) -> IntArray:
    """Return the rows of `chosen` that are not leading ones."""
    return chosen if rows.n_leading == 0 else chosen[rows.step[chosen] >= rows.n_leading]


def _chunks(groups: IntArray, size: int) -> list[IntArray]:
    """Return the groups some at a time, as many as one may hold matrices of `size` numbers for."""
    n = max(4 * BLOCK // size, 1)
    return [groups[first : first + n] for first in range(0, len(groups), n)]


def _n_inputs(rows: Rows) -> int:
    return 0 if rows.inputs is None else rows.inputs.shape[1]
