"""The posterior of a Bayesian mixture: of the weights, and for every component of its mean and precision."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kalman_em.arrays import Array, as_floats, check_shape
from kalman_em.errors import InputError
from kalman_em.latent.gaussians import Gaussians
from kalman_em.latent.precision_priors import PrecisionPrior
from kalman_em.latent.weight_priors import mean_weights


@dataclass(frozen=True, eq=False)
class VariationalParams(Gaussians):
    """π of Dirichlet or stick-breaking weights; Λ_k of ν_k degrees about S_k^-1, μ_k ~ N(m_k, (β_k Λ_k)^-1).

    Bishop 2006, equations 10.57 and 10.59.

    Parameters
    ----------
    means : array_like, shape (K, p)
        m.
    covs : array_like, shape (K, p, p)
        S, the covariance whose inverse is the mean of Λ; of a Wishart distribution (ν W)^-1.
    concentrations : array_like, shape (K,) or (K, 2)
        α of a Dirichlet distribution; both numbers of the Beta distribution of each stick.
    mean_precisions : array_like, shape (K,)
        β: as many rows as the mean is known like.
    degrees : array_like, shape (K,)
        ν: of full covariances above p - 1.

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
        for name in ("concentrations", "mean_precisions", "degrees"):
            value = as_floats(getattr(self, name), name)
            pairs = name == "concentrations" and value.ndim == 2
            check_shape(value, (self.n_components, 2) if pairs else (self.n_components,), name)
            if value.min() <= 0.0:
                raise InputError(f"{name}: expected numbers above 0, got {value.tolist()}")
            object.__setattr__(self, name, value)

    @property
    def weights(self) -> Array:
        """The mean of π, shape (K,); of sticks in shares of what the K components have together."""
        return mean_weights(self.concentrations)


def mean_divergence(posterior: VariationalParams, prior: VariationalParams) -> float:
    """Return the divergence of the means from their prior, given the precisions and in expectation over them.

    Examples
    --------
    >>> prior = VariationalParams([[0.0]], [[[1.0]]], concentrations=[3.0], mean_precisions=[2.0], degrees=[4.0])
    >>> mean_divergence(prior, prior)
    0.0
    """
    p, beta, beta0 = posterior.dim, posterior.mean_precisions, prior.mean_precisions
    off = posterior.means - prior.means
    distances = np.einsum("kp,kp->k", off, np.linalg.solve(posterior.covs, off[:, :, None])[:, :, 0])
    return 0.5 * float((p * np.log(beta / beta0) - p + beta0 * (p / beta + distances)).sum())


def row_excess(params: VariationalParams, precisions: PrecisionPrior) -> Array:
    """Return what E[log N(x; μ_k, Λ_k)] differs by from log N(x; m_k, S_k), shape (K,).

    ½ (E[log |Λ_k|] - log |E[Λ_k]|) - p / (2 β_k), Bishop's equations 10.64 and 10.65. With this added to E[log π_k] in
    the place of log weights the E-step is that of a mixture, for missing entries too: they are integrated over the same
    kernel.
    """
    spread = precisions.log_excess(params.degrees, params.dim) - params.dim / params.mean_precisions
    result: Array = 0.5 * spread
    return result
