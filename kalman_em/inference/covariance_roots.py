"""Factors of covariance matrices: as many digits of them as the matrices hold."""

from __future__ import annotations

import numpy as np

from kalman_em.arrays import Array, frozen

# A pivot this small beside its variance is rounding of the matrix itself.
PIVOT_ROUNDING = 4.0 * float(np.finfo(np.float64).eps)


def factor_of_each(covs: Array) -> Array:
    """Return lower triangular L with L L' = C for every PSD matrix of a table (n, d, d); pivots may be 0.

    Taken with a longer mantissa where the machine has one: a pivot far below its variance then keeps its digits.

    Examples
    --------
    >>> factor_of_each(np.array([[[4.0, 2.0], [2.0, 1.0]]])).tolist()
    [[[2.0, 0.0], [1.0, 0.0]]]
    """
    d = covs.shape[1]
    left = covs.astype(np.longdouble)
    variances = np.diagonal(covs, axis1=1, axis2=2)
    roots = np.zeros_like(left)
    for j in range(d):
        pivot = left[:, j, j]
        is_null = pivot <= (d + 1) * PIVOT_ROUNDING * variances[:, j]
        deviation = np.sqrt(np.where(is_null, 1.0, pivot))
        column = np.where(is_null[:, None], 0.0, left[:, j:, j] / deviation[:, None])
        roots[:, j:, j] = column
        left[:, j:, j:] -= column[:, :, None] * column[:, None, :]
    return np.asarray(frozen(roots.astype(np.float64)))
