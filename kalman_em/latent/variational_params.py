"""The posterior of a Bayesian mixture: Dirichlet weights, and a Gaussian-Wishart for every component."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy

from kalman_em.arrays import Array, as_floats, check_shape
from kalman_em.errors import InputError
from kalman_em.latent.gaussians import Gaussians


@dataclass(frozen=True, eq=False)
class VariationalParams(Gaussians):
    """π ~ Dirichlet(α); Λ_k ~ Wishart(W_k, ν_k), μ_k ~ N(m_k, (β_k Λ_k)^-1) (Bishop 2006, equations 10.57 and 10.59).

    Parameters
    ----------
    means : array_like, shape (K, p)
        m.
    covs : array_like, shape (K, p, p)
        (ν W)^-1: the covariance whose inverse is the mean of Λ.
    concentrations : array_like, shape (K,)
        α.
    mean_precisions : array_like, shape (K,)
        β: as many rows as the mean is known like.
    degrees : array_like, shape (K,)
        ν, above p - 1.

    Raises
    ------
    InputError
        If a shape is wrong, a covariance is none, or a number is out of its range.

    Examples
    --------
    >>> known = VariationalParams([[0.0]], [[[1.0]]], concentrations=[3.0], mean_precisions=[2.0], degrees=[4.0])
    >>> known.weights.tolist(), known.n_components
    ([1.0], 1)
    """

    concentrations: Array
    mean_precisions: Array
    degrees: Array

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in (("concentrations", 0.0), ("mean_precisions", 0.0), ("degrees", self.dim - 1.0)):
            value = as_floats(getattr(self, name), name)
            check_shape(value, (self.n_components,), name)
            if value.min() <= least:
                raise InputError(f"{name}: expected numbers above {least:g}, got {value.tolist()}")
            object.__setattr__(self, name, value)

    @property
    def weights(self) -> Array:
        """The mean of π, shape (K,)."""
        result: Array = self.concentrations / self.concentrations.sum()
        return result

    @property
    def log_weights(self) -> Array:
        """E[log π_k], and what E[log N(x; μ_k, Λ_k)] differs by from log N(x; m_k, (ν W)^-1), shape (K,).

        ½ (E[log |Λ_k|] - log |ν_k W_k|) - p / (2 β_k), Bishop's equations 10.64 and 10.65. With these in the place of
        log weights the E-step is that of a mixture, for missing entries too: they are integrated over the same kernel.
        """
        spread = _expected_log_excess(self.degrees, self.dim) - self.dim / self.mean_precisions
        result: Array = (
            scipy.special.digamma(self.concentrations) - scipy.special.digamma(self.concentrations.sum()) + 0.5 * spread
        )
        return result


def divergence(posterior: VariationalParams, prior: VariationalParams) -> float:
    """Return KL(posterior, prior), exact: that of the Dirichlet and, for each component, of the Gaussian-Wishart.

    Examples
    --------
    >>> prior = VariationalParams([[0.0]], [[[1.0]]], concentrations=[3.0], mean_precisions=[2.0], degrees=[4.0])
    >>> divergence(prior, prior)
    0.0
    """
    alpha, alpha0 = posterior.concentrations, prior.concentrations
    weights = _log_dirichlet_norm(alpha) - _log_dirichlet_norm(alpha0)
    weights += float((alpha - alpha0) @ (scipy.special.digamma(alpha) - scipy.special.digamma(alpha.sum())))
    p, nu, nu0 = posterior.dim, posterior.degrees, prior.degrees
    beta, beta0 = posterior.mean_precisions, prior.mean_precisions
    off = posterior.means - prior.means
    solved = np.linalg.solve(posterior.covs, np.concatenate([off[:, :, None], prior.covs], axis=2))
    distances = np.einsum("kp,kp->k", off, solved[:, :, 0])
    means = 0.5 * (p * np.log(beta / beta0) - p + beta0 * (p / beta + distances))
    # W = (ν Σ)^-1, so tr(W0^-1 W) ν = ν0 tr(Σ^-1 Σ0).
    traces = nu0 * np.trace(solved[:, :, 1:], axis1=1, axis2=2)
    log_w, log_w0 = (-_log_dets(one.covs) - p * np.log(one.degrees) for one in (posterior, prior))
    expected = _expected_log_excess(nu, p) + p * np.log(nu) + log_w
    wisharts = _log_wishart_norm(log_w, nu, p) - _log_wishart_norm(log_w0, nu0, p)
    wisharts = wisharts + 0.5 * ((nu - nu0) * expected - nu * p + traces)
    return weights + float(means.sum() + wisharts.sum())


def _expected_log_excess(degrees: Array, p: int) -> Array:
    """Return E[log |Λ|] - log |ν W| (Bishop, equation B.81)."""
    steps = np.arange(p)
    result: Array = scipy.special.digamma(0.5 * (degrees[:, None] - steps)).sum(axis=1) + p * np.log(2.0 / degrees)
    return result


def _log_wishart_norm(log_det_w: Array, degrees: Array, p: int) -> Array:
    """Return log B(W, ν) (Bishop, equation B.79)."""
    constant = 0.5 * degrees * p * np.log(2.0) + np.array([scipy.special.multigammaln(0.5 * nu, p) for nu in degrees])
    result: Array = -0.5 * degrees * log_det_w - constant
    return result


def _log_dirichlet_norm(concentrations: Array) -> float:
    return float(scipy.special.gammaln(concentrations.sum()) - scipy.special.gammaln(concentrations).sum())


def _log_dets(covs: Array) -> Array:
    return np.asarray(np.linalg.slogdet(covs)[1])
