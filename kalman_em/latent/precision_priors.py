"""Conjugate priors of the precisions of a Bayesian mixture, form by form.

A distribution of a precision stands as degrees ν and a covariance S, the inverse of the mean of the precision Λ:

    Full       Λ ~ Wishart(ν, (ν S)^-1)
    Diagonal   each variance has Λ_jj ~ Gamma(ν / 2, ν S_jj / 2), a Wishart distribution of one column
    Isotropic  one Λ = λ I,           λ ~ Gamma(ν / 2, ν s / 2)

for each component, or one for all: `Shared`. A row is worth one degree; of an isotropic precision one a column.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy

from kalman_em.arrays import Array
from kalman_em.em.forms import Diagonal, Full, Isotropic, Shared
from kalman_em.errors import InputError
from kalman_em.linalg import symmetrised


@dataclass(frozen=True)
class PrecisionPrior:
    """What a form makes of the degrees ν (K,) and covariances S (K, p, p) of K precisions; all are the same if shared.

    Raises
    ------
    InputError
        If the form has no conjugate prior here.

    Examples
    --------
    >>> PrecisionPrior(Shared(Diagonal())).is_shared
    True
    """

    form: Any

    def __post_init__(self) -> None:
        has_prior = isinstance(self.inner, Full | Diagonal | Isotropic)
        if not has_prior or (self.is_shared and self.form.only is not None):
            raise InputError(
                "covariance: expected Full(), Diagonal(), Isotropic() or Shared(...) of one of these, which have "
                f"conjugate priors, got {self.form!r}"
            )

    @property
    def inner(self) -> Any:
        """The form of a single covariance."""
        return self.form.form if isinstance(self.form, Shared) else self.form

    @property
    def is_shared(self) -> bool:
        """Whether all components have one precision."""
        return isinstance(self.form, Shared)

    def least_degrees(self, dim: int) -> float:
        """Return what degrees must be above."""
        return dim - 1.0 if isinstance(self.inner, Full) else 0.0

    def posterior(self, degrees: Array, covs: Array, counts: Array, sums: Array) -> tuple[Array, Array]:
        """Return degrees and covariances after `counts` (K,) rows whose outer products have the sums (K, p, p)."""
        K, p = len(counts), covs.shape[1]
        if self.is_shared:
            counts, sums = np.full(K, counts.sum()), np.broadcast_to(sums.sum(axis=0), sums.shape)
        if isinstance(self.inner, Isotropic):
            after = degrees + p * counts
            spread = degrees * covs[:, 0, 0] + np.trace(sums, axis1=1, axis2=2)
            return after, (spread / after)[:, None, None] * np.eye(p)
        after = degrees + counts
        total = (degrees[:, None, None] * covs + sums) / after[:, None, None]
        return after, total * np.eye(p) if isinstance(self.inner, Diagonal) else symmetrised(total)

    def log_excess(self, degrees: Array, dim: int) -> Array:
        """Return E[log |Λ|] - log |E[Λ]|, shape (K,), below 0."""
        return _log_excess(degrees, dim) if isinstance(self.inner, Full) else dim * _log_excess(degrees, 1)

    def divergence(self, degrees: Array, covs: Array, degrees0: Array, covs0: Array) -> float:
        """Return the divergence of precisions with (degrees, covs) from those with (degrees0, covs0)."""
        one = slice(0, 1) if self.is_shared else slice(None)
        nu, S, nu0, S0 = degrees[one], covs[one], degrees0[one], covs0[one]
        if isinstance(self.inner, Full):
            return float(_divergence(nu, S, nu0, S0).sum())
        columns = 1 if isinstance(self.inner, Isotropic) else S.shape[1]
        single = [np.diagonal(one, axis1=1, axis2=2)[:, :columns].reshape(-1, 1, 1) for one in (S, S0)]
        return float(_divergence(np.repeat(nu, columns), single[0], np.repeat(nu0, columns), single[1]).sum())

    def drawn(self, degrees: Array, n_columns: int, rng: np.random.Generator) -> tuple[Array, Array]:
        """Return degrees (n,) of Student's t in each row, and draws of it about 0 with the unit scale (n, p).

        With the scale matrix S ν (1 + β) / (β ν'), ν' the degrees returned, they are the posterior predictive
        (Bishop 2006, equation 10.82): columns of a full or isotropic precision share what it is drawn to be, those of a
        diagonal one do not.
        """
        n = len(degrees)
        own = degrees + 1.0 - n_columns if isinstance(self.inner, Full) else degrees
        columns = n_columns if isinstance(self.inner, Diagonal) else 1
        spread = np.sqrt(rng.chisquare(np.repeat(own, columns)).reshape(n, columns) / own[:, None])
        return own, rng.standard_normal((n, n_columns)) / spread


def _log_excess(degrees: Array, p: int) -> Array:
    """Return E[log |Λ|] - log |ν W| of a Wishart distribution (Bishop 2006, equation B.81)."""
    steps = np.arange(p)
    result: Array = scipy.special.digamma(0.5 * (degrees[:, None] - steps)).sum(axis=1) + p * np.log(2.0 / degrees)
    return result


def _divergence(nu: Array, covs: Array, nu0: Array, covs0: Array) -> Array:
    """Return KL between Wishart distributions, one by one, shape (n,)."""
    p = covs.shape[1]
    # W = (ν S)^-1, so tr(W0^-1 W) ν = ν0 tr(S^-1 S0).
    traces = nu0 * np.trace(np.linalg.solve(covs, covs0), axis1=1, axis2=2)
    log_w, log_w0 = (-np.linalg.slogdet(S)[1] - p * np.log(degrees) for S, degrees in ((covs, nu), (covs0, nu0)))
    expected = _log_excess(nu, p) + p * np.log(nu) + log_w
    norms = _log_norm(log_w, nu, p) - _log_norm(log_w0, nu0, p)
    result: Array = norms + 0.5 * ((nu - nu0) * expected - nu * p + traces)
    return result


def _log_norm(log_det_w: Array, degrees: Array, p: int) -> Array:
    """Return log B(W, ν) (Bishop 2006, equation B.79)."""
    constant = 0.5 * degrees * p * np.log(2.0) + np.array([scipy.special.multigammaln(0.5 * nu, p) for nu in degrees])
    result: Array = -0.5 * degrees * log_det_w - constant
    return result
