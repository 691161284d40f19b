"""What rows say of their factors, and the factors of what is missing."""

from __future__ import annotations

import numpy as np

from kalman_em.arrays import Array
from kalman_em.latent.factor_params import FactorParams
from kalman_em.latent.rows import PatternedRows


def factor_moments(params: FactorParams, rows: PatternedRows) -> tuple[Array, Array]:
    """Return means (n, q) and covariances (n, q, q) of the factors of each row given what was observed of it.

    With the observed columns o the covariance is M^-1, M = I + W_o' Ψ_o^-1 W_o, and the mean
    M^-1 W_o' Ψ_o^-1 (y_o - μ_o) (Tipping & Bishop 1999, equation 6, with a variance for each column).

    Examples
    --------
    >>> from kalman_em.latent.rows import patterned_values
    >>> params = FactorParams(mean=[0.0], loadings=[[1.0]], noise_variances=[1.0])
    >>> means, covs = factor_moments(params, patterned_values(np.array([[3.0], [np.nan]])))
    >>> means.ravel().tolist(), covs.ravel().tolist()
    ([1.5, 0.0], [0.5, 1.0])
    """
    q = params.n_factors
    means, covs = np.empty((rows.n_rows, q)), np.empty((rows.n_rows, q, q))
    for pattern in rows.patterns:
        o = pattern.observed
        weighted = params.loadings[o].T / params.noise_variances[o]
        # Through the covariance of z and y together no precision as large as 1 / ψ is inverted.
        values, axes = np.linalg.eigh(weighted @ params.loadings[o])
        left = (axes / (1.0 + np.maximum(values, 0.0))) @ axes.T
        off = pattern.columns.T - (params.mean - rows.centre)[o]
        means[pattern.at] = off @ (left @ weighted).T
        covs[pattern.at] = left
    return means, covs


def completed_rows(params: FactorParams, rows: PatternedRows) -> tuple[Array, Array]:
    """Return the rows (n, p), what is missing at its mean given the rest, and standard deviations, 0 if observed."""
    means, covs = factor_moments(params, rows)
    values = rows.completed() + rows.centre
    missing = np.isnan(values)
    expected = params.mean + means @ params.loadings.T
    variances = np.einsum("pq,nqr,pr->np", params.loadings, covs, params.loadings) + params.noise_variances
    return np.where(missing, expected, values), np.where(missing, np.sqrt(np.maximum(variances, 0.0)), 0.0)
