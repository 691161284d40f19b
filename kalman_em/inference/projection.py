"""Rows of many values turned onto the states by matrix products over many rows at a time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy

from kalman_em.arrays import Array, BoolArray, IntArray
from kalman_em.inference.blocks import row_blocks
from kalman_em.inference.steps import LOG_2PI

# Columns of H that, in units of their own, are nearer to collinear than this are left to a QR decomposition: their
# matrix of products has lost half of the digits that it would lose.
NEARLY_COLLINEAR = 1e-4


def project_group(
    values: Array,
    offset: Array,
    offset_index: IntArray,
    rows: IntArray,
    observed: IntArray,
    lower: Array | None,
    turn: Array | None,
    deviations: Array,
    constant: float,
    reduced: Array,
    leftover: Array,
) -> None:
    """Fill `reduced` and `leftover` for `rows`, in all of which the columns `observed` were, as `whiten_rows` does.

    Parameters
    ----------
    lower : ndarray, shape (n, n), optional
        L of R_oo = L D L'; without it R has no correlations.
    turn : ndarray, shape (n, d), optional
        The orthogonal columns; without it the whitened values are handed over as they are.
    """
    is_whole = len(observed) == values.shape[1]
    for block in row_blocks(rows, len(observed)):
        white = values[block] - _offsets(offset, offset_index, block)
        white = white if is_whole else white[:, observed]
        if lower is not None:
            white = scipy.linalg.solve_triangular(lower, white.T, lower=True, unit_diagonal=True, check_finite=False).T
        if turn is None:
            reduced[block, : len(observed)] = white
            continue
        white /= deviations
        seen = white @ turn
        # The squares of what is left, not the difference of two squares: values may be far from 0.
        white -= seen @ turn.T
        reduced[block, : turn.shape[1]] = seen
        leftover[block] = constant - 0.5 * np.einsum("ij,ij->i", white, white)


@dataclass(frozen=True, eq=False)
class Projections:
    """The groups whose rows `project_patterns` can take (`are_taken`), each with h (d, d) and L^-1 of H'R^-1 H = L L'.

    `scale` (d,) is the unit of each column of H, which h has and L has not.
    """

    are_taken: BoolArray
    h: Array
    inverse: Array
    scale: Array


def projections(H: Array, variances: Array, seen: BoolArray) -> Projections:
    """Return H_o' R_oo^-1 H_o of every missing pattern in `seen` (n, p), factored, for a diagonal R.

    All of them take one matrix product. Patterns are left out that see no more values than states, that see a value
    without noise, or where the columns of H_o are too near to collinear for products of them.
    """
    d = H.shape[1]
    weights = np.where(variances > 0.0, 1.0 / np.where(variances > 0.0, variances, 1.0), 0.0)
    size = np.sqrt(weights @ H**2)
    scale = np.where(size > 0.0, size, 1.0)
    unit = H / scale
    outer = (weights[:, None, None] * unit[:, :, None] * unit[:, None, :]).reshape(len(H), d * d)
    products = (seen.astype(np.float64) @ outer).reshape(-1, d, d)
    products = 0.5 * (products + np.swapaxes(products, 1, 2))
    taken = (seen.sum(axis=1) > d) & ~np.any(seen & (variances <= 0.0), axis=1)
    sizes = np.sqrt(np.diagonal(products, axis1=1, axis2=2))
    taken &= np.all(sizes > 0.0, axis=1)
    scaled = products[taken] / sizes[taken, :, None] / sizes[taken, None, :]
    taken[taken] = np.linalg.eigvalsh(scaled)[:, 0] > NEARLY_COLLINEAR
    lower = np.linalg.cholesky(products[taken])
    h, inverse = np.zeros((len(seen), d, d)), np.zeros((len(seen), d, d))
    h[taken] = np.swapaxes(lower, 1, 2) * scale
    inverse[taken] = np.linalg.inv(lower)
    return Projections(taken, h, inverse, scale)


def project_patterns(
    values: Array,
    offset: Array,
    offset_index: IntArray,
    rows: IntArray,
    group_index: IntArray,
    H: Array,
    variances: Array,
    found: Projections,
    reduced: Array,
    leftover: Array,
) -> None:
    """Fill `reduced` and `leftover` for `rows`, each with a missing pattern of its own, for a diagonal R.

    L^-1 H_o' R_oo^-1 y_o, with L of the row's pattern, sees the states through h = L' and noise of unit variance.
    """
    d = H.shape[1]
    weights = np.where(variances > 0.0, 1.0 / np.where(variances > 0.0, variances, 1.0), 0.0)
    logs = np.where(variances > 0.0, np.log(np.where(variances > 0.0, variances, 1.0)), 0.0)
    unit = H / found.scale
    weighted = weights[:, None] * unit
    for block in row_blocks(rows, values.shape[1]):
        error = values[block] - _offsets(offset, offset_index, block)
        is_missing = np.isnan(error)
        error[is_missing] = 0.0
        inverse = found.inverse[group_index[block]]
        seen = np.einsum("nij,nj->ni", inverse, error @ weighted)
        error -= np.einsum("nji,nj->ni", inverse, seen) @ unit.T
        error[is_missing] = 0.0
        is_seen = ~is_missing
        constants = -0.5 * ((is_seen.sum(axis=1) - d) * LOG_2PI + is_seen @ logs)
        reduced[block, :d] = seen
        leftover[block] = constants - 0.5 * (error**2 @ weights)


def _offsets(offset: Array, offset_index: IntArray, block: slice | IntArray) -> Array:
    return offset[0] if len(offset) == 1 else offset[offset_index[block]]
