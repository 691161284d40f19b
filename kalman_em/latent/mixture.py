"""Gaussian mixture: each row comes from one of K Gaussians, and which one is hidden."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from kalman_em.arrays import as_count
from kalman_em.em.forms import Fixed, Full
from kalman_em.errors import InputError, unknown_name
from kalman_em.latent.checks import check_rows
from kalman_em.latent.covariances import ComponentStep, checked_component_form
from kalman_em.latent.mixture_prior import MixturePrior
from kalman_em.latent.mixture_problem import MixtureProblem, fixed_weights
from kalman_em.latent.rows import patterned
from kalman_em.observations import Panel

FULL = Full()
STARTS = ["k-means++", "random"]


@dataclass(frozen=True, kw_only=True)
class GaussianMixture:
    """A mixture of Gaussians, p(x) = Σ_k w_k N(x; μ_k, Σ_k), learnt from rows in any order.

    `kalman_em.fit` returns a `MixtureFit`.

    Parameters
    ----------
    n_components : int
        Number of Gaussians, K.
    covariance : form
        How the covariances may vary: ``Full()``, ``Diagonal()``, ``Isotropic()``, ... one for each component;
        ``Shared(form)`` one for all; ``Shared(form, only="shape")`` and the like what mclust calls VEV and so on: the
        table is in `Shared`.
    weights : Full() or Fixed(value)
        The shares of the components: learnt, or K known numbers.
    starts : {"k-means++", "random"}
        Where starts after the first begin: at clusters by k-means++, or at rows drawn at random. The first is the same
        every time: clusters that the axes of largest spread cut, after a few steps of k-means.
    prior : MixturePrior, optional
        What is known of the parameters before the data: EM then finds the mode of the posterior (MAP).

    Raises
    ------
    InputError
        If an argument is of the wrong kind; in a fit, if data have fewer distinct rows than components, a column that
        does not vary, or, under a form with correlations, columns that are linearly dependent.

    Notes
    -----
    Missing entries (NaN) are handled exactly, if what is missing does not depend on its value: a row counts with the
    density of what was observed. Nothing holds variances up: a component that shrinks to a point, where the likelihood
    has no maximum, ends its start as ``degenerate_covariance``, and `fit` begins anew elsewhere.

    References
    ----------
    Dempster, Laird and Rubin, Maximum likelihood from incomplete data via the EM algorithm, JRSS B 39 (1977),
    section 4.3. Ghahramani and Jordan, Supervised learning from incomplete data via an EM approach, NIPS 6 (1994).

    Examples
    --------
    >>> import numpy as np
    >>> import kalman_em as kem
    >>> rng = np.random.default_rng(1)
    >>> points = np.concatenate([rng.normal(0.0, 1.0, (60, 2)), rng.normal(6.0, 1.0, (40, 2))])
    >>> fitted = kem.fit(kem.GaussianMixture(2, covariance=kem.Shared(kem.Full())), points)
    >>> fitted.params.weights.round(2).tolist(), fitted.n_parameters
    ([0.6, 0.4], 8)
    """

    n_components: int = field(kw_only=False)
    covariance: Any = FULL
    weights: Any = FULL
    starts: str = STARTS[0]
    prior: MixturePrior | None = None

    is_ordered: ClassVar[bool] = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "n_components", as_count(self.n_components, "n_components"))
        checked_component_form(self.covariance, "covariance")
        if not isinstance(self.weights, Full | Fixed):
            raise InputError(f"weights: expected Full() or Fixed(value), got {self.weights!r}")
        fixed_weights(self.weights, self.n_components)
        if self.prior is not None and not isinstance(self.prior, MixturePrior):
            raise InputError(f"prior: expected MixturePrior(...) or None, got {self.prior!r}")
        if self.starts not in STARTS:
            raise InputError(unknown_name("starts", self.starts, STARTS))

    def problem(self, panel: Panel) -> MixtureProblem:
        """Return the EM problem for the rows of `panel`, whose order does not matter."""
        rows = patterned(panel)
        step = ComponentStep(self.covariance, self.n_components, rows.dim, "covariance")
        check_rows(panel, rows, step)
        weights = fixed_weights(self.weights, self.n_components)
        prior = None if self.prior is None else self.prior.laid_out(rows, step)
        return MixtureProblem(rows, step, weights, self.starts, prior)
