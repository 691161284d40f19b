"""The regression M-step from one Cholesky factor, where each column of M is free in all its rows or in none."""

from __future__ import annotations

import numpy as np

from kalman_em.arrays import Array, IntArray

# A Gram matrix of unit diagonal whose Cholesky factor has no smaller entry on its own diagonal is far from singular;
# what is left over may be smaller, as long as it is no rounding.
SOUND, LEFT = 1e-4, 1e-6


def regressed(
    residual: Array, cross: Array, regressor: Array, order: IntArray, n_free: int
) -> tuple[Array, Array] | None:
    """Return the best change D (q, r) of the coefficients and E[(e - D z)(e - D z)'], None where digits may be lost.

    The moments are E[e e'] (q, q), E[e z'] (q, r) and E[z z'] (r, r) of residuals e and regressors z; the columns
    `order[:n_free]` are free. With S = L L' for the second moment S of (z, e), free regressors first and scaled to a
    unit diagonal, D solves D L_zz = L_ez, and what is left over are the rows of L_e behind them: squares alone, so that
    no variance cancels below 0.

    Examples
    --------
    >>> change, left = regressed(np.eye(1), np.array([[0.5]]), np.array([[2.0]]), np.array([0]), 1)
    >>> change.round(12).tolist(), left.round(12).tolist()
    ([[0.25]], [[0.875]])
    """
    q, r = cross.shape
    joint = np.empty((r + q, r + q))
    joint[:r, :r] = regressor[order[:, None], order]
    joint[r:, :r] = cross[:, order]
    joint[:r, r:] = joint[r:, :r].T
    joint[r:, r:] = residual
    variances = joint.diagonal()
    if not variances.min() > 0.0:
        return None
    unit = np.sqrt(variances)
    try:
        root = np.linalg.cholesky(joint / (unit[:, None] * unit))
    except np.linalg.LinAlgError:
        return None
    pivots = root.diagonal()
    if not (pivots[:n_free].min() > SOUND and pivots.min() > LEFT):
        return None
    change = np.zeros((q, r))
    solved = np.linalg.solve(root[:n_free, :n_free].T, root[r:, :n_free].T)
    change[:, order[:n_free]] = (solved * unit[r:] / unit[:n_free, None]).T
    rest = root[r:, n_free:] * unit[r:, None]
    return change, rest @ rest.T
