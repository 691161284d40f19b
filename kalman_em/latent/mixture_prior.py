"""A prior on a mixture, for MAP EM: conjugate, and in the units of the data where nothing else is said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from kalman_em.arrays import Array, as_floats, check_shape
from kalman_em.errors import InputError
from kalman_em.latent.covariances import ComponentStep
from kalman_em.latent.mixture_params import MixtureParams
from kalman_em.latent.moments import Moments
from kalman_em.latent.rows import PatternedRows
from kalman_em.linalg import checked_covariance


@dataclass(frozen=True, kw_only=True)
class MixturePrior:
    """A Dirichlet prior on weights, and normal-inverse-Wishart ones on components, of which EM finds the mode (MAP).

        w ~ Dirichlet(α),        Σ_k ~ IW(Λ, ν),        μ_k given Σ_k ~ N(m, Σ_k / κ)

    Each M-step stays in closed form, whatever the form of the covariances, and no component can collapse. Guarantees:
    the log-likelihood plus the log prior never falls.

    Parameters
    ----------
    concentration : float
        α, at least 1 (1 is flat).
    mean_precision : float
        κ, at least 0 (0 is flat): a prior mean is worth so many rows.
    degrees : float, optional
        ν, above p - 1; p + 2 when left out.
    mean, cov : array_like of shape (p,) and (p, p), optional
        m and Λ. When left out the mean of all rows, and their covariance over K^(2/p) (of variances alone where entries
        are missing), so that the fit is the same in all units (Fraley & Raftery).

    Raises
    ------
    InputError
        If a number is out of its range; where it is used, if a shape does not fit.

    References
    ----------
    Fraley and Raftery, Bayesian regularization for normal mixture estimation and model-based clustering, Journal of
    Classification 24 (2007), section 3.

    Examples
    --------
    An outlier, to which a component of its own would shrink:

    >>> import numpy as np
    >>> import kalman_em as kem
    >>> points = np.append(np.random.default_rng(0).normal(size=50), 40.0)
    >>> kem.fit(kem.GaussianMixture(2), points).em.stop_reason.is_converged
    False
    >>> kem.fit(kem.GaussianMixture(2, prior=kem.MixturePrior()), points).em.stop_reason.is_converged
    True
    """

    concentration: float = 1.0
    mean_precision: float = 0.01
    degrees: float | None = None
    mean: Any = None
    cov: Any = None

    def __post_init__(self) -> None:
        for name, least in (("concentration", 1.0), ("mean_precision", 0.0)):
            value = as_floats(getattr(self, name), name)
            if value.ndim or float(value) < least:
                raise InputError(f"{name}: expected a number of at least {least:g}, got {getattr(self, name)!r}")
        for name in ("mean", "cov", "degrees"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, as_floats(getattr(self, name), name))

    def laid_out(self, rows: PatternedRows, step: ComponentStep) -> LaidPrior:
        """Return the prior in numbers for these rows."""
        p, K = rows.dim, step.n_components
        degrees = p + 2.0 if self.degrees is None else float(self.degrees)
        if degrees <= p - 1.0:
            raise InputError(f"degrees: expected a number above {p - 1}, one less than the columns, got {degrees:g}")
        if self.mean is not None:
            check_shape(self.mean, (p,), "mean")
        cov = rows.covariance() / K ** (2.0 / p) if self.cov is None else checked_covariance(self.cov, p, "cov")
        return LaidPrior(
            float(self.concentration),
            float(self.mean_precision),
            degrees,
            rows.centre if self.mean is None else self.mean,
            cov,
        )


@dataclass(frozen=True, eq=False)
class LaidPrior:
    """The numbers of a `MixturePrior`: α, κ, ν, m and Λ."""

    concentration: float
    mean_precision: float
    degrees: float
    mean: Array
    cov: Array

    def log_density(self, params: MixtureParams, step: ComponentStep, has_free_weights: bool) -> float:
        """Return the log prior density, up to what no parameter moves."""
        p, K = params.dim, params.n_components
        height = 0.0
        if has_free_weights and self.concentration > 1.0:
            height += (self.concentration - 1.0) * float(params.log_weights.sum())
        off = params.means - self.mean
        right = np.concatenate([off[:, :, None], np.broadcast_to(self.cov, (K, p, p))], axis=2)
        solved = np.linalg.solve(params.covs, right)
        log_dets = np.linalg.slogdet(params.covs)[1]
        if self.mean_precision > 0.0:
            distances = np.einsum("kp,kp->k", off, solved[:, :, 0])
            height -= 0.5 * float((log_dets + self.mean_precision * distances).sum())
        each = (self.degrees + p + 1.0) * log_dets + np.trace(solved[:, :, 1:], axis1=1, axis2=2)
        return height - 0.5 * float(each[0] if step.is_shared else each.sum())

    def with_prior(self, moments: Moments, step: ComponentStep) -> tuple[Array, Moments]:
        """Return the means that are most probable, and moments in which the prior counts as rows, about them.

        The M-step of the covariances is then that of these rows.
        """
        counts, kappa, p = moments.counts, self.mean_precision, len(self.mean)
        off = moments.means - self.mean
        total = counts + kappa
        share = np.where(total > 0.0, counts / np.where(total > 0.0, total, 1.0), 1.0)
        means = self.mean + share[:, None] * off
        sums = counts[:, None, None] * moments.scatters
        sums = sums + (kappa * share)[:, None, None] * off[:, :, None] * off[:, None, :]
        # One covariance has one prior, which its components share.
        part = 1.0 / step.n_components if step.is_shared else 1.0
        more = counts + (1.0 if kappa > 0.0 else 0.0) + part * (self.degrees + p + 1.0)
        return means, Moments(more, means, (sums + part * self.cov) / more[:, None, None])

    def weights(self, counts: Array) -> Array:
        """Return the most probable weights."""
        more = counts + self.concentration - 1.0
        result: Array = more / more.sum()
        return result
