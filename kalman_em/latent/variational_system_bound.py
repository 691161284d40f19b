"""The evidence lower bound of a Bayesian linear-Gaussian system, with every constant."""

from __future__ import annotations

import numpy as np

from kalman_em.latent.variational_system_params import SystemPrior, VariationalSystem, expected_log, gamma_divergence
from kalman_em.latent.variational_system_rows import LOG_2PI, SystemSums


def evidence_bound(params: VariationalSystem, sums: SystemSums, prior: SystemPrior) -> float:
    """Return E_q[log p(y, x, parameters)] - E_q[log q(x, parameters)].

    References
    ----------
    Beal, Variational algorithms for approximate Bayesian inference, 2003, section 5.3.7, with gammas on the precisions
    of columns as Luttinen (2013) has them.
    """
    return expected_log_joint(params, sums, prior) + sums.entropy - divergence(params, prior)


def expected_log_joint(params: VariationalSystem, sums: SystemSums, prior: SystemPrior) -> float:
    """Return E_q[log p(y, x given the parameters)]."""
    d, F, rho = params.state_dim, params.transition_means, params.noise_precisions
    steps = sums.after - F @ sums.cross.T - sums.cross @ F.T + F @ sums.before @ F.T
    height = -0.5 * (float(np.trace(steps)) + d * float(np.sum(params.transition_cov * sums.before)))
    log_initial = float(expected_log(params.initial_shape, params.initial_rate))
    height += 0.5 * d * sums.n_series * log_initial - 0.5 * params.initial_precision * float(np.trace(sums.first))
    height -= 0.5 * d * sums.n_rows * LOG_2PI
    M = params.observation_means.copy()
    M[:, d] -= prior.offset
    fitted = np.einsum("pi,pij,pj->p", M, sums.regressors, M)
    errors = rho * (sums.squares - 2.0 * np.einsum("pi,pi->p", M, sums.targets) + fitted)
    spread = np.einsum("pij,pij->p", params.observation_covs, sums.regressors)
    logs = expected_log(params.noise_shapes, params.noise_rates)
    return height + 0.5 * float(sums.counts @ (logs - LOG_2PI)) - 0.5 * float(errors.sum() + spread.sum())


def divergence(params: VariationalSystem, prior: SystemPrior) -> float:
    """Return KL(q(parameters), p(parameters))."""
    d, p = params.state_dim, params.obs_dim
    alpha, gamma, rho = params.transition_relevances, params.observation_relevances, params.noise_precisions
    log_alpha = expected_log(params.transition_relevance_shapes, params.transition_relevance_rates)
    log_gamma = expected_log(params.observation_relevance_shapes, params.observation_relevance_rates)
    squares = (params.transition_means**2).sum(axis=0) + d * np.diagonal(params.transition_cov)
    rows = -d * (float(log_alpha.sum()) + _log_det(params.transition_cov) + d) + float(alpha @ squares)
    M = params.observation_means.copy()
    M[:, d] -= prior.offset
    squares = rho @ M**2 + np.diagonal(params.observation_covs, axis1=1, axis2=2).sum(axis=0)
    log_dets = float(np.linalg.slogdet(params.observation_covs)[1].sum())
    rows += -p * (float(log_gamma.sum()) + d + 1.0) - log_dets + float(gamma @ squares)
    total = 0.5 * rows
    total += gamma_divergence(params.noise_shapes, params.noise_rates, prior.noise_shape, prior.noise_rates)
    for kind in ("transition", "observation"):
        shapes, rates = (getattr(params, f"{kind}_relevance_{end}") for end in ("shapes", "rates"))
        total += gamma_divergence(shapes, rates, *prior.relevance)
    return total + gamma_divergence(params.initial_shape, params.initial_rate, *prior.initial)


def _log_det(matrix: object) -> float:
    return float(np.linalg.slogdet(np.asarray(matrix))[1])
