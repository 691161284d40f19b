"""Moments of states and rows under the posterior of the parameters."""

from __future__ import annotations

import numpy as np

from kalman_em.arrays import Array
from kalman_em.latent.variational_system_params import VariationalSystem
from kalman_em.linalg import symmetrised


def moved_on(params: VariationalSystem, mean: Array, cov: Array) -> tuple[Array, Array, Array]:
    """Return mean and covariance of the state after one from q, and its covariance with that; exact under q(x) q(F).

    E[F x] = E[F] m, and Cov[F x] = E[F] C E[F]' + tr(Cov[f] (C + m m')) I, as rows of F are independent and alike.
    """
    F = params.transition_means
    spread = float(np.sum(params.transition_cov * (cov + np.outer(mean, mean))))
    return F @ mean, symmetrised(F @ cov @ F.T) + (1.0 + spread) * np.eye(len(F)), F @ cov


def seen_moments(params: VariationalSystem, means: Array, covs: Array) -> tuple[Array, Array]:
    """Return means (n, p) and covariances (n, p, p) of rows whose states have these moments under q.

    A row's own uncertainty adds E[1 / ρ_i] (1 + tr(V_i E[z z'])), z = (x, 1), to the variance of column i.
    """
    n, d = means.shape
    M, V = params.observation_means, params.observation_covs
    seconds = np.ones((n, d + 1, d + 1))
    seconds[:, :d, :d] = covs + means[:, :, None] * means[:, None, :]
    seconds[:, :d, d] = seconds[:, d, :d] = means
    expected = means @ M[:, :d].T + M[:, d]
    noise = params.noise_rates / (params.noise_shapes - 1.0)
    own = noise * (1.0 + np.einsum("pij,tij->tp", V, seconds))
    spread = M[:, :d] @ covs @ M[:, :d].T
    spread[:, np.arange(len(M)), np.arange(len(M))] += own
    return expected, symmetrised(spread)
