"""From rows of p values to as few independent scalar observations as carry all that they say of the state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from kalman_em.arrays import Array, BoolArray, IntArray, frozen
from kalman_em.compiled import kernel
from kalman_em.inference.blocks import FEWEST_ROWS, WIDE, rows_of_groups
from kalman_em.inference.projection import project_group, project_patterns, projections
from kalman_em.inference.steps import LOG_2PI, ldl
from kalman_em.linalg import has_correlations


@dataclass(frozen=True, eq=False)
class Whitening:
    """How the rows of each group become independent values: R_oo = L D L', and where the group is turned, onto what.

    `observed` (n, p) has the observed columns first. L is `lower`, of no size where R has no correlations; `rows`
    (n, p, d) and `variances` (n, p) are those of the values that come out. Turned groups are divided by `deviations`
    (n, p), multiplied by `turns` (n, p, d), and their density has a constant.
    """

    observed: IntArray
    n_observed: IntArray
    lower: Array
    turned: BoolArray
    deviations: Array
    turns: Array
    constants: Array
    rows: Array
    variances: Array

    @property
    def counts(self) -> IntArray:
        """How many values come out of a row of each group."""
        return np.where(self.turned, self.rows.shape[2], self.n_observed)


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
    others see noise alone, and give the likelihood a term without the state. Of many columns, many rows are taken at a
    time by matrix products; where R is diagonal, rows whose missing patterns differ as well.

    Returns the reduced values (N, m), rows of H (n_groups, m, d), variances (n_groups, m), counts (n_groups,) and
    the leftover log-likelihood of each row (N,), or none where there is none, m at most p.

    References
    ----------
    Durbin and Koopman, Time Series Analysis by State Space Methods, 2nd ed. 2012, sections 6.4 and 6.5; Jungbacker
    and Koopman, Likelihood-based dynamic factor analysis, Econometrics Journal 18 (2015), section 2.
    """
    n_groups = len(group_rows)
    p, d = matrix.shape[1:]
    seen = ~np.isnan(values[group_rows])
    is_diagonal = not has_correlations(cov)
    found, order, bounds = None, np.zeros(0, dtype=np.int64), np.zeros(n_groups + 1, dtype=np.int64)
    taken = np.zeros(n_groups, dtype=bool)
    if p >= WIDE:
        order, bounds = rows_of_groups(group_index, n_groups)
        is_small = np.diff(bounds) < FEWEST_ROWS
        if is_diagonal and len(matrix) == len(cov) == 1 and is_small.any():
            found = projections(matrix[0], np.diagonal(cov[0]), seen & is_small[:, None])
            taken = found.are_taken
    others = np.flatnonzero(~taken)
    made = _whitening(matrix, cov, group_matrix[others], group_cov[others], seen[others], is_diagonal)
    counts = np.full(n_groups, d)
    counts[others] = made.counts
    width = int(counts.max(initial=1))
    h, variances = np.zeros((n_groups, width, d)), np.zeros((n_groups, width))
    h[others], variances[others] = made.rows[:, :width], made.variances[:, :width]
    says_more = p >= WIDE or bool(made.turned.any())
    reduced, leftover = np.zeros((len(values), width)), np.zeros(len(values) if says_more else 0)
    if found is not None:
        h[taken, :d], variances[taken, :d] = found.h[taken], 1.0
        rows = np.flatnonzero(taken[group_index])
        R = np.diagonal(cov[0])
        project_patterns(values, offset, offset_index, rows, group_index, matrix[0], R, found, reduced, leftover)
    groups = RowGroups(others, group_index, order, bounds)
    _reduce_groups(values, offset, offset_index, groups, made, is_diagonal, reduced, leftover)
    return reduced, h, variances, counts, leftover


class RowGroups(NamedTuple):
    """Groups `at` to be whitened: the group `of_row`, and where there are many columns the rows group after group."""

    at: IntArray
    of_row: IntArray
    order: IntArray
    bounds: IntArray


def _reduce_groups(
    values: Array,
    offset: Array,
    offset_index: IntArray,
    groups: RowGroups,
    made: Whitening,
    is_diagonal: bool,
    reduced: Array,
    leftover: Array,
) -> None:
    """Whiten the rows of `groups` into `reduced` and `leftover`: large groups by matrix products, others row by row."""
    is_large = np.diff(groups.bounds)[groups.at] >= FEWEST_ROWS
    for k in np.flatnonzero(is_large):
        n = made.n_observed[k]
        project_group(
            values,
            offset,
            offset_index,
            groups.order[groups.bounds[groups.at[k]] : groups.bounds[groups.at[k] + 1]],
            made.observed[k, :n],
            None if is_diagonal else made.lower[k, :n, :n],
            made.turns[k, :n] if made.turned[k] else None,
            made.deviations[k, :n],
            float(made.constants[k]),
            reduced,
            leftover,
        )
    rest = groups.at[~is_large]
    if len(rest):
        index = groups.of_row
        if len(rest) < len(groups.bounds) - 1:
            place = np.full(len(groups.bounds) - 1, -1)
            place[rest] = np.flatnonzero(~is_large)
            index = frozen(place[groups.of_row])
        whiten_rows(
            values,
            offset,
            offset_index,
            index,
            made.observed,
            made.n_observed,
            made.lower,
            made.turned,
            made.deviations,
            made.turns,
            made.constants,
            np.empty(values.shape[1]),
            reduced,
            leftover,
        )


def _whitening(
    matrix: Array, cov: Array, group_matrix: IntArray, group_cov: IntArray, seen: BoolArray, is_diagonal: bool
) -> Whitening:
    """Return how to whiten rows of which `seen` (n, p) was observed, an H and an R for each."""
    n_groups, p = seen.shape
    d = matrix.shape[2]
    n_observed = seen.sum(axis=1)
    # The observed columns of each group first, in order.
    observed = np.argsort(~seen, axis=1, kind="stable")
    # Without correlations there is nothing to factor, and no p by p matrix a group to keep.
    lower = np.zeros((n_groups, 0, 0) if is_diagonal else (n_groups, p, p))
    rows, variances = np.zeros((n_groups, p, d)), np.zeros((n_groups, p))
    block = np.empty((0, 0) if is_diagonal else (p, p))
    whiten_groups(matrix, cov, group_matrix, group_cov, observed, n_observed, block, lower, variances, rows)
    turned, deviations, turns, constants = _turned(rows, variances, n_observed)
    return Whitening(observed, n_observed, lower, turned, deviations, turns, constants, rows, variances)


def _turned(rows: Array, variances: Array, n_observed: IntArray) -> tuple[BoolArray, Array, Array, Array]:
    """Bring groups of more rows than states to unit variance and turn them onto d, in place.

    Returns which groups those are, their old standard deviations (n_groups, p), the orthogonal columns (n_groups, p, d)
    and the log of the constant that it costs (n_groups,).
    """
    n_groups, p, d = rows.shape
    if not np.any(n_observed > d):
        return np.zeros(n_groups, dtype=bool), np.ones((n_groups, p)), np.zeros((0, p, d)), np.zeros(n_groups)
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
    """Fill `reduced` with L^-1 (y_o - d_o), and where the group is turned `leftover`; both come as zeros.

    Rows of group -1 are left as they are.
    """
    is_diagonal = lower.shape[1] == 0
    d = turns.shape[2]
    for t in range(values.shape[0]):
        g, c = group_index[t], offset_index[t]
        if g < 0:
            continue
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
