"""Factor analysis and probabilistic principal components: many columns that few hidden factors move."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from kalman_em.arrays import as_count
from kalman_em.em.forms import Diagonal, Isotropic
from kalman_em.errors import InputError
from kalman_em.latent.checks import check_varying
from kalman_em.latent.factor_problem import FactorProblem
from kalman_em.latent.factor_step import FactorStep, check_noise
from kalman_em.latent.rows import patterned
from kalman_em.observations import Panel

DIAGONAL = Diagonal()
ISOTROPIC = Isotropic()


@dataclass(frozen=True, kw_only=True)
class FactorAnalysis:
    """Rows y = μ + W z + e of p columns, z ~ N(0, I) with q factors, e ~ N(0, Ψ), learnt from rows in any order.

    Parameters
    ----------
    n_factors : int
        Number of factors, q, less than p; with ``Diagonal()`` at most so many that (p - q)² >= p + q.
    noise : Diagonal() or Isotropic()
        A variance for each column, or one for all: then it is probabilistic principal components.

    Raises
    ------
    InputError
        If an argument is of the wrong kind; in a fit, if there are too many factors for the columns or the rows, or a
        column does not vary.

    Notes
    -----
    Missing entries (NaN) are handled exactly, if what is missing does not depend on its value. Any W R with R
    orthogonal is as good; the loadings returned have W' Ψ^-1 W diagonal and falling, so that factor 1 explains most in
    units of the noise, and columns whose sums in these units are not below 0.

    EM takes the missing entries as hidden and sums the factors out; its M-steps never lower the likelihood, and of
    complete rows with isotropic noise the first is the maximum (see `kalman_em.latent.factor_step`). Where a noise
    variance goes to 0, a Heywood case, it is held at 1e-8 of its column's variance, all else converges, and
    the run ends as ``heywood_case``; with more such columns than factors the likelihood has no maximum:
    ``degenerate_covariance``.

    References
    ----------
    Lawley and Maxwell, Factor Analysis as a Statistical Method, 2nd ed. 1971, chapter 4. Rubin and Thayer, EM
    algorithms for ML factor analysis, Psychometrika 47 (1982).

    Examples
    --------
    >>> import numpy as np
    >>> import kalman_em as kem
    >>> rng = np.random.default_rng(0)
    >>> ability, luck = rng.normal(size=(300, 1)), rng.normal(size=(300, 4))
    >>> marks = ability * [1.0, 2.0, 1.0, 0.5] + luck * [0.5, 1.0, 1.0, 0.2]
    >>> fitted = kem.fit(kem.FactorAnalysis(1), marks)
    >>> fitted.communalities.round(1).tolist(), fitted.n_parameters
    ([0.8, 0.8, 0.5, 0.9], 12)
    """

    n_factors: int = field(kw_only=False)
    noise: Any = DIAGONAL

    is_ordered: ClassVar[bool] = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "n_factors", as_count(self.n_factors, "n_factors"))
        check_noise(self.noise)

    def problem(self, panel: Panel) -> FactorProblem:
        """Return the EM problem for the rows of `panel`, whose order does not matter."""
        rows = patterned(panel)
        step = FactorStep(self.n_factors, self.noise, rows.dim)
        n = sum(len(pattern.at) for pattern in rows.patterns if len(pattern.observed))
        if n < self.n_factors + 2:
            s = "" if self.n_factors == 1 else "s"
            raise InputError(
                f"data: expected at least {self.n_factors + 2} rows for {self.n_factors} factor{s}, got {n}"
            )
        check_varying(panel, rows)
        return FactorProblem(rows, step, panel.names)


@dataclass(frozen=True, kw_only=True)
class PrincipalComponents(FactorAnalysis):
    """Probabilistic principal components: factor analysis with one noise variance for all columns.

    Of complete rows the maximum has a closed form, in which the first M-step ends: the loadings span the first q
    principal axes and the noise variance is the mean of the variances along the others. Missing entries are handled
    exactly.

    Parameters
    ----------
    n_factors : int
        Number of components, q, less than the number of columns.

    Raises
    ------
    InputError
        As for `FactorAnalysis`.

    References
    ----------
    Tipping and Bishop, Probabilistic principal component analysis, JRSS B 61 (1999).

    Examples
    --------
    >>> import kalman_em as kem
    >>> flowers = kem.datasets.load("iris").drop(columns="species")
    >>> fitted = kem.fit(kem.PrincipalComponents(2), flowers)
    >>> round(fitted.log_likelihood, 4)
    -404.9628
    """

    noise: Any = field(default=ISOTROPIC, init=False)
