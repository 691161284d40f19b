"""Bayesian Gaussian mixture by variational EM: components that the data do not need lose their rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from kalman_em.arrays import as_count, as_floats, check_shape
from kalman_em.em.forms import Full
from kalman_em.errors import InputError
from kalman_em.latent.checks import check_rows
from kalman_em.latent.covariances import ComponentStep
from kalman_em.latent.rows import PatternedRows, patterned
from kalman_em.latent.variational_params import VariationalParams
from kalman_em.latent.variational_problem import VariationalProblem
from kalman_em.linalg import checked_covariance
from kalman_em.observations import Panel


@dataclass(frozen=True, kw_only=True)
class VariationalMixture:
    """A mixture of Gaussians with priors on all of its parameters, learnt by variational EM.

    Parameters
    ----------
    n_components : int
        The most Gaussians there may be, K.
    concentration : float, optional
        α_0 of the Dirichlet prior of the weights; 1 / K when left out. Below 1 it empties components.
    mean_precision : float
        β_0: the prior of a mean is worth so many rows.
    degrees : float, optional
        ν_0 of the Wishart prior, above p - 1; p, the number of columns, when left out.
    mean, cov : array_like of shape (p,) and (p, p), optional
        The prior mean, and the prior of a covariance (W_0^-1); those of all rows when left out (of variances alone
        where entries are missing), so that the fit is the same in all units.

    Raises
    ------
    InputError
        If an argument is of the wrong kind or shape; in a fit, if data have fewer distinct rows than components, a
        column that does not vary, or columns that are linearly dependent.

    Notes
    -----
    Variational EM: the objective is the evidence lower bound, exact, and never falls; it is below the log evidence by
    the divergence of the factorised posterior from the true one. Missing entries are hidden values like the rest, for
    which the same holds. The covariances are full, each component with its own.

    References
    ----------
    Attias, A variational Bayesian framework for graphical models, NIPS 12 (2000). Bishop, Pattern Recognition and
    Machine Learning, 2006, section 10.2.

    Examples
    --------
    >>> import numpy as np
    >>> import kalman_em as kem
    >>> rng = np.random.default_rng(1)
    >>> points = np.concatenate([rng.normal(0.0, 1.0, (150, 2)), rng.normal(7.0, 1.0, (100, 2))])
    >>> fitted = kem.fit(kem.VariationalMixture(6, concentration=1e-3), points)
    >>> fitted.n_kept, fitted.weights.round(2).max().item()
    (2, 0.6)
    """

    n_components: int = field(kw_only=False)
    concentration: float | None = None
    mean_precision: float = 1.0
    degrees: float | None = None
    mean: Any = None
    cov: Any = None

    is_ordered: ClassVar[bool] = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "n_components", as_count(self.n_components, "n_components"))
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
        step = ComponentStep(Full(), self.n_components, rows.dim, "cov")
        check_rows(panel, rows, step)
        return VariationalProblem(rows.seen(), step, self._prior(rows))

    def _prior(self, rows: PatternedRows) -> VariationalParams:
        K, p = self.n_components, rows.dim
        mean, cov = self.mean, self.cov
        if mean is not None:
            check_shape(mean, (p,), "mean")
        if cov is not None:
            cov = checked_covariance(cov, p, "cov")
        degrees = float(p) if self.degrees is None else float(self.degrees)
        if degrees <= p - 1.0:
            raise InputError(f"degrees: expected a number above {p - 1}, one less than the columns, got {degrees:g}")
        # The prior mean of W^-1 stands as ν_0 times the covariance that inverts the mean of Λ.
        covs = np.broadcast_to((rows.covariance() if cov is None else cov) / degrees, (K, p, p))
        return VariationalParams(
            means=np.broadcast_to(rows.centre if mean is None else mean, (K, p)),
            covs=covs,
            concentrations=np.full(K, 1.0 / K if self.concentration is None else float(self.concentration)),
            mean_precisions=np.full(K, float(self.mean_precision)),
            degrees=np.full(K, degrees),
        )
