"""Rows as the regimes of a switching system see them: whitened, completed, and summed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kalman_em.arrays import Array
from kalman_em.errors import NumericalError
from kalman_em.inference.switching_loops import SwitchingMoments, WhitenedRows
from kalman_em.latent.rows import PatternedRows
from kalman_em.latent.switching_params import SwitchingParams
from kalman_em.linalg import symmetrised


@dataclass(frozen=True, eq=False)
class RegressionSums:
    """Expected sums of a regression of y on z = (x, 1), by regime: counts (K,), Σ z z', Σ y z' and Σ y y' (K, ...)."""

    counts: Array
    regressors: Array
    cross: Array
    responses: Array


def with_ones(counts: Array, squares: Array, cross: Array, means: tuple[Array, Array]) -> tuple[Array, Array]:
    """Return Σ z z' and Σ y z' for z = (x, 1) from those of x, and Σ x and Σ y."""
    first, responses = means
    right = np.concatenate([first, counts[:, None]], axis=1)
    wide = np.concatenate([squares, first[:, None, :]], axis=1)
    return np.concatenate([wide, right[:, :, None]], axis=2), np.concatenate([cross, responses[:, :, None]], axis=2)


def whitened(params: SwitchingParams, rows: PatternedRows) -> WhitenedRows:
    """Return every row times the inverse root of R of each regime, over its observed entries.

    Raises
    ------
    NumericalError
        If an observation covariance is singular.
    """
    K, p, d, G = params.n_regimes, params.obs_dim, params.state_dim, len(rows.patterns)
    covs, matrices = params.of_regimes("observation_cov"), params.of_regimes("observation_matrix")
    offsets = params.of_regimes("observation_offset")
    result = WhitenedRows(
        h=np.zeros((G, K, p, d)),
        counts=np.array([len(pattern.observed) for pattern in rows.patterns]),
        constants=np.zeros((G, K)),
        values=np.zeros((rows.n_rows, K, p)),
        pattern=np.zeros(rows.n_rows, dtype=np.int64),
    )
    for g, pattern in enumerate(rows.patterns):
        o, q = pattern.observed, len(pattern.observed)
        result.pattern[pattern.at] = g
        for k in range(K):
            try:
                lower = np.linalg.cholesky(covs[k][np.ix_(o, o)])
            except np.linalg.LinAlgError:
                raise NumericalError(f"observation_cov of regime {k} is singular") from None
            inverse = np.linalg.inv(lower)
            result.h[g, k, :q] = inverse @ matrices[k][o]
            result.values[pattern.at, k, :q] = (pattern.columns.T - offsets[k][o]) @ inverse.T
            result.constants[g, k] = -float(np.log(np.diagonal(lower)).sum())
    return result


def expected_rows(params: SwitchingParams, rows: PatternedRows, moments: SwitchingMoments) -> Array:
    """Return the rows less their centre, (N, p), what is missing expected given the rest, over the regimes together."""
    covs, matrices = params.of_regimes("observation_cov"), params.of_regimes("observation_matrix")
    offsets = params.of_regimes("observation_offset")
    result = np.zeros((rows.n_rows, params.obs_dim))
    for pattern in rows.patterns:
        o, at = pattern.observed, pattern.at
        m = np.setdiff1d(np.arange(params.obs_dim), o)
        result[np.ix_(at, o)] = pattern.columns.T
        for k in range(params.n_regimes if len(m) else 0):
            # y_m = H_m x + d_m + R_mo R_oo^-1 (y_o - H_o x - d_o) in the mean.
            regression = np.linalg.solve(covs[k][np.ix_(o, o)], covs[k][np.ix_(o, m)]).T
            slope = matrices[k][m] - regression @ matrices[k][o]
            off = pattern.columns.T - offsets[k][o]
            own = offsets[k][m] + off @ regression.T + moments.means[at, k] @ slope.T
            result[np.ix_(at, m)] += moments.probabilities[at, k, None] * own
    return result


def observation_sums(params: SwitchingParams, rows: PatternedRows, moments: SwitchingMoments) -> RegressionSums:
    """Return the sums of the regression of rows on states; what is missing of a row is expected given the rest.

    Rows without any observed entry say nothing, and are left out.
    """
    K, p, d = params.n_regimes, params.obs_dim, params.state_dim
    covs, matrices = params.of_regimes("observation_cov"), params.of_regimes("observation_matrix")
    offsets, first, total_response = params.of_regimes("observation_offset"), np.zeros((K, d)), np.zeros((K, p))
    sums = RegressionSums(np.zeros(K), np.zeros((K, d, d)), np.zeros((K, p, d)), np.zeros((K, p, p)))
    for pattern in rows.patterns:
        o, at = pattern.observed, pattern.at
        if len(o) == 0:
            continue
        m = np.setdiff1d(np.arange(p), o)
        for k in range(K):
            weights, means = moments.probabilities[at, k], moments.means[at, k]
            spread = np.einsum("t,tij->ij", weights, moments.covs[at, k])
            # y = a + B x + e: the entry itself where it was seen.
            filled, slope, left = np.zeros((len(at), p)), np.zeros((p, d)), np.zeros((p, p))
            filled[:, o] = pattern.columns.T
            if len(m):
                regression = np.linalg.solve(covs[k][np.ix_(o, o)], covs[k][np.ix_(o, m)]).T
                slope[m] = matrices[k][m] - regression @ matrices[k][o]
                off = pattern.columns.T - offsets[k][o]
                filled[:, m] = offsets[k][m] + off @ regression.T + means @ slope[m].T
                left[np.ix_(m, m)] = covs[k][np.ix_(m, m)] - regression @ covs[k][np.ix_(o, m)]
            weighted = filled * weights[:, None]
            total = float(weights.sum())
            sums.counts[k] += total
            first[k] += weights @ means
            total_response[k] += weighted.sum(axis=0)
            sums.regressors[k] += (means * weights[:, None]).T @ means + spread
            sums.cross[k] += weighted.T @ means + slope @ spread
            sums.responses[k] += weighted.T @ filled + slope @ spread @ slope.T + total * left
    squares, cross = with_ones(sums.counts, symmetrised(sums.regressors), sums.cross, (first, total_response))
    return RegressionSums(sums.counts, squares, cross, symmetrised(sums.responses))
