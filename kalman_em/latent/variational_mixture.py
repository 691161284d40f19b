"""Bayesian Gaussian mixture by variational EM: components that the data do not need lose their rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from kalman_em.arrays import as_count, as_floats, check_shape
from kalman_em.em.forms import Full
from kalman_em.errors import InputError, unknown_name
from kalman_em.latent.checks import check_rows
from kalman_em.latent.covariances import ComponentStep, checked_component_form
from kalman_em.latent.precision_priors import PrecisionPrior
from kalman_em.latent.rows import PatternedRows, patterned
from kalman_em.latent.variational_params import VariationalParams
from kalman_em.latent.variational_problem import VariationalProblem
from kalman_em.latent.weight_priors import DirichletWeights, StickWeights, WeightPrior
from kalman_em.linalg import checked_covariance
from kalman_em.observations import Panel

FULL = Full()
WEIGHTS = ["dirichlet", "stick-breaking"]


@dataclass(frozen=True, kw_only=True)
class VariationalMixture:
    """A mixture of Gaussians with priors on all of its parameters, learnt by variational EM.

    Parameters
    ----------
    n_components : int
        The most Gaussians there may be, K.
    covariance : form
        How the covariances may vary: ``Full()``, ``Diagonal()`` or ``Isotropic()``, one for each component;
        ``Shared(...)`` of one of these, one for all.
    weights : {"dirichlet", "stick-breaking"}
        The prior of the weights: one Dirichlet distribution over K shares, or a Dirichlet process cut off at K, in
        which component k takes a Beta(1, α_0) share of what those before it left. The second prefers few components,
        the large ones first, and changes little when K grows.
    concentration : float, optional
        α_0 of either prior; 1 / K when left out. Below 1 it empties components.
    mean_precision : float
        β_0: the prior of a mean is worth so many rows.
    degrees : float, optional
        ν_0, how sure the prior is of the covariance: of full ones above p - 1. p, the number of columns, when left out.
    mean, cov : array_like of shape (p,) and (p, p), optional
        The prior mean, and the prior of a covariance, times ν_0 (W_0^-1), of the form; those of all rows when left out
        (of variances alone where entries are missing), so that the fit is the same in all units that the form allows.

    Raises
    ------
    InputError
        If an argument is of the wrong kind or shape; in a fit, if data have fewer distinct rows than components, a
        column that does not vary, or columns that are linearly dependent.

    Notes
    -----
    Variational EM: the objective is the evidence lower bound, exact, and never falls; it is below the log evidence by
    the divergence of the factorised posterior from the true one. Missing entries are hidden values like the rest, for
    which the same holds.

    A full precision has a Wishart prior; diagonal ones have independent gammas of ν_0 degrees, and an isotropic one has
    one gamma, for which a row counts p degrees. (scikit-learn gives all forms the constants of a Wishart distribution,
    and a shared covariance a K-th of the rows: what it climbs is a bound for full covariances, or one column.)

    References
    ----------
    Attias, A variational Bayesian framework for graphical models, NIPS 12 (2000). Beal, Variational algorithms for
    approximate Bayesian inference, thesis, 2003, chapter 2. Bishop, Pattern Recognition and Machine Learning, 2006,
    section 10.2. Blei and Jordan, Variational inference for Dirichlet process mixtures, Bayesian Analysis 1 (2006).

    Examples
    --------
    >>> import numpy as np
    >>> import kalman_em as kem
    >>> rng = np.random.default_rng(1)
    >>> points = np.concatenate([rng.normal(0.0, 1.0, (150, 2)), rng.normal(7.0, 1.0, (100, 2))])
    >>> fitted = kem.fit(kem.VariationalMixture(6, concentration=1e-3), points)
    >>> fitted.n_kept, fitted.weights.round(2).max().item()
    (2, 0.6)
    >>> few = kem.VariationalMixture(6, covariance=kem.Shared(kem.Isotropic()), weights="stick-breaking")
    >>> kem.fit(few, points).weights[:2].round(2).tolist()
    [0.6, 0.4]
    """

    n_components: int = field(kw_only=False)
    covariance: Any = FULL
    weights: str = WEIGHTS[0]
    concentration: float | None = None
    mean_precision: float = 1.0
    degrees: float | None = None
    mean: Any = None
    cov: Any = None

    is_ordered: ClassVar[bool] = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "n_components", as_count(self.n_components, "n_components"))
        checked_component_form(self.covariance, "covariance")
        PrecisionPrior(self.covariance)
        if self.weights not in WEIGHTS:
            raise InputError(unknown_name("weights", self.weights, WEIGHTS))
        for name in ("concentration", "mean_precision", "degrees"):
            value = getattr(self, name)
            if value is not None and not (as_floats(value, name).ndim == 0 and float(value) > 0.0):
                raise InputError(f"{name}: expected a number above 0, got {value!r}")
        for name in ("mean", "cov"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, as_floats(getattr(self, name), name))

    def problem(self, panel: Panel) -> VariationalProblem:
        """Return the EM problem for the rows of `panel`, whose order does not matter."""
        rows = patterned(panel)
        step = ComponentStep(self.covariance, self.n_components, rows.dim, "covariance")
        check_rows(panel, rows, step)
        precisions = PrecisionPrior(self.covariance)
        weights = self._weight_prior()
        return VariationalProblem(rows.seen(), step, self._prior(rows, step, precisions, weights), weights, precisions)

    def _weight_prior(self) -> WeightPrior:
        K = self.n_components
        own = 1.0 / K if self.concentration is None else float(self.concentration)
        if self.weights == "dirichlet":
            return DirichletWeights(np.full(K, own))
        return StickWeights(np.tile([1.0, own], (K, 1)))

    def _prior(
        self, rows: PatternedRows, step: ComponentStep, precisions: PrecisionPrior, weights: WeightPrior
    ) -> VariationalParams:
        K, p = self.n_components, rows.dim
        mean, cov = self.mean, self.cov
        if mean is not None:
            check_shape(mean, (p,), "mean")
        degrees, least = float(p) if self.degrees is None else float(self.degrees), precisions.least_degrees(p)
        if degrees <= least:
            raise InputError(f"degrees: expected a number above {least:g}, one less than the columns, got {degrees:g}")
        if cov is None:
            covs = np.broadcast_to(rows.covariance(), (K, p, p))
            covs = step.most_likely(np.ones(K), covs, covs)
        else:
            covs = np.broadcast_to(checked_covariance(cov, p, "cov"), (K, p, p))
            step.check_of_form(covs, "cov")
        # The prior mean of W^-1 stands as ν_0 times the covariance that inverts the mean of Λ.
        return VariationalParams(
            means=np.broadcast_to(rows.centre if mean is None else mean, (K, p)),
            covs=covs / degrees,
            concentrations=weights.concentrations,
            mean_precisions=np.full(K, float(self.mean_precision)),
            degrees=np.full(K, degrees),
        )
