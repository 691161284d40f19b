"""The sums of EM as moments of two regressions: what the means of the states give, and what their covariances add."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from kalman_em.arrays import Array, BoolArray, IntArray, Table, frozen
from kalman_em.inference.kernel_arrays import Spreads
from kalman_em.inference.moments import BLOCK_ROWS, add_moments
from kalman_em.inference.rows import Rows, SystemRows, by_group, numbered

# Squares that should be 0 may be below it by this part of what they are differences of.
ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class RegressionMoments:
    """Expected second moments of a regression e = target - M z around its current coefficients M.

    One entry a group of rows with one noise covariance: residual E[e e'] (n, q, q), cross E[e z'] (n, q, r),
    regressor E[z z'] (n, r, r) and the number of rows (n,); z is (x, 1, u). A residual (n, q) holds diagonals alone.
    """

    residual: Array
    cross: Array
    regressor: Array
    count: Array


def are_variances(transition: RegressionMoments) -> BoolArray:
    """Return in which groups the expected squares of noises are squares: rounding that has grown gives others.

    They are differences of the squares of states: what stands beside those in z has units of its own.
    """
    squares = np.diagonal(transition.residual, axis1=1, axis2=2)
    states = np.diagonal(transition.regressor, axis1=1, axis2=2)[:, : squares.shape[1]]
    largest = states.max(axis=1, initial=0.0)
    result: BoolArray = np.isfinite(squares).all(axis=1) & (squares.min(axis=1, initial=0.0) >= -ROUNDING * largest)
    return result


def transition_moments(
    laid: SystemRows,
    rows: Rows,
    means: Array,
    inputs: Array,
    spreads: Spreads,
    *,
    moves: tuple[IntArray, IntArray] | None = None,
    noise_means: Array | None = None,
) -> RegressionMoments:
    """Return the sums over the transitions, by distinct Q; `moves` are these rows by Q, with one F each, if known.

    Residuals are the `noise_means` (N, d) where those are known.
    """
    n, d = len(laid.noise_cov.entries), means.shape[1]
    if moves is not None:
        (order, bounds), entries = moves, np.arange(n)
    elif n == len(laid.transition.entries) == 1:
        order, bounds, entries = rows.moving_rows, np.array([0, len(rows.moving_rows)]), np.zeros(1, dtype=np.int64)
    elif laid.noise_cov.index is laid.transition.index:
        order, bounds = by_group(rows.moving_rows, laid.noise_cov.index, n)
        entries = np.arange(n)
    else:
        group, first = numbered(laid.noise_cov.index * len(laid.transition.entries) + laid.transition.index)
        order, bounds = by_group(rows.moving_rows, group, len(first))
        entries = laid.noise_cov.index[first]
    everything = np.ones((len(entries), d), dtype=bool)
    targets, matrix, offset = means[1:], laid.transition, laid.offset
    if noise_means is not None:
        same = frozen(np.zeros(rows.n_rows, dtype=np.int64))
        targets, matrix, offset = noise_means, Table(np.zeros((1, d, d)), same), Table(np.zeros((1, d)), same)
    residual, cross, regressor = _added(order, bounds, entries, n, targets, means, inputs, matrix, offset, everything)
    cross[:, :, :d] += spreads.cross
    regressor[:, :d, :d] += mirrored(spreads.regressor)
    count = np.asarray(np.bincount(entries, np.diff(bounds), minlength=n), dtype=np.float64)
    return RegressionMoments(residual + mirrored(spreads.residual), cross, regressor, count)


def observation_moments(
    laid: SystemRows,
    rows: Rows,
    means: Array,
    inputs: Array,
    covs: Array,
    seen: BoolArray,
    order: tuple[IntArray, IntArray],
    seen_spreads: tuple[Array, Array] | None = None,
) -> RegressionMoments:
    """Return the sums over the observations, by missing pattern, H and R.

    `covs` are the sums V of the states' covariances, `order` the rows by group and where each begins. `seen_spreads`
    are H V H' and -H V, lower triangles and missing rows 0, where better is known than those products.
    """
    n, d = len(laid.group_rows), means.shape[1]
    bounds = order[1]
    residual, cross, regressor = _added(
        order[0],
        bounds,
        np.arange(n),
        n,
        rows.values,
        means,
        inputs,
        laid.observation,
        laid.observation_offset,
        seen,
    )
    # What the spread of the states adds: H V H' and -H V, the missing rows of H 0, once all V of a group are added up.
    if seen_spreads is None:
        H = np.where(seen[:, :, None], laid.observation.entries[laid.observation.index[laid.group_rows]], 0.0)
        pushed = H @ covs
        seen_spreads = pushed @ np.swapaxes(H, 1, 2), -pushed
    residual += seen_spreads[0]
    cross[:, :, :d] += seen_spreads[1]
    regressor[:, :d, :d] += covs
    return RegressionMoments(mirrored(residual), cross, regressor, np.diff(bounds).astype(np.float64))


def _added(
    order: IntArray,
    bounds: IntArray,
    entries: IntArray,
    n: int,
    targets: Array,
    means: Array,
    inputs: Array,
    matrix: Table,
    offset: Table,
    seen: BoolArray,
) -> tuple[Array, Array, Array]:
    """Return e e', e z' and z z' of the means of n groups, added up; see `add_moments`."""
    q, r = targets.shape[1], means.shape[1] + 1 + inputs.shape[1]
    residual, cross, regressor = np.zeros((n, q, q)), np.zeros((n, q, r)), np.zeros((n, r, r))
    block = np.ones((r + q, BLOCK_ROWS))
    add_moments(
        frozen(order),
        frozen(bounds),
        frozen(entries),
        frozen(targets),
        frozen(means),
        frozen(inputs),
        matrix.entries,
        matrix.index,
        offset.entries,
        offset.index,
        frozen(seen),
        block,
        np.empty((r + q, r + q)),
        residual,
        cross,
        regressor,
    )
    return residual, cross, regressor


def mirrored(lower: Array) -> Array:
    """Return symmetric matrices from their lower triangles, in place."""
    rows, columns = _below(lower.shape[1])
    lower[:, columns, rows] = lower[:, rows, columns]
    return lower


@lru_cache(maxsize=64)
def _below(n: int) -> tuple[IntArray, IntArray]:
    rows, columns = np.tril_indices(n, -1)
    return rows, columns
