"""What missing entries were, given everything observed: their means and variances."""

from __future__ import annotations

import numpy as np

from kalman_em.arrays import Array, frozen
from kalman_em.inference.rows import Rows, SystemRows
from kalman_em.linalg import solve_symmetric


def impute_rows(laid: SystemRows, rows: Rows, means: Array, covs: Array) -> tuple[Array, Array]:
    """Return the values with missing entries replaced by their means, and their variances: (N, p) and (N, p).

    A missing entry depends on the observed ones of its row through the state and, where R is not diagonal,
    through the noise: y_m = H_m x + d_m + A (y_o - H_o x - d_o) + noise, A = R_mo R_oo^-1. Observed entries keep
    their value, with variance 0.

    Parameters
    ----------
    means, covs : ndarray, shape (N, d) and (N, d, d)
        Smoothed moments of the states.
    """
    values = rows.values.copy()
    variances = np.zeros_like(values)
    for row in np.flatnonzero(np.isnan(values).any(axis=1)):
        missing = np.isnan(rows.values[row])
        observed = ~missing
        H = laid.observation.entries[laid.observation.index[row]]
        R = laid.observation_cov.entries[laid.observation_cov.index[row]]
        offset = laid.observation_offset.entries[laid.observation_offset.index[row]]
        A = solve_symmetric(R[np.ix_(observed, observed)], R[np.ix_(observed, missing)]).T
        predicted = H @ means[row] + offset
        through = H[missing] - A @ H[observed]
        noise = R[np.ix_(missing, missing)] - A @ R[np.ix_(observed, missing)]
        values[row, missing] = predicted[missing] + A @ (rows.values[row, observed] - predicted[observed])
        variance = np.einsum("ij,jk,ik->i", through, covs[row], through) + np.diagonal(noise)
        variances[row, missing] = np.maximum(variance, 0.0)
    return frozen(values), frozen(variances)
