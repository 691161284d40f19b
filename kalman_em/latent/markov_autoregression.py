"""Markov autoregression: a series that returns to a mean which jumps with the regime."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from kalman_em.arrays import as_count
from kalman_em.em.forms import Full, Stationary
from kalman_em.errors import InputError
from kalman_em.latent.chain import Chain, check_chain_forms
from kalman_em.latent.lagged_rows import check_series, lagged_values
from kalman_em.latent.markov_autoregression_problem import MarkovAutoregressionProblem
from kalman_em.latent.regime_autoregression import LaggedRows
from kalman_em.latent.rows import patterned
from kalman_em.latent.series_parts import starts_of
from kalman_em.models.keywords import checks_keywords
from kalman_em.observations import Panel

# More histories than this make a step of EM too long.
MOST_HISTORIES = 4096


@checks_keywords
@dataclass(frozen=True, kw_only=True)
class MarkovAutoregression:
    """An autoregression about a mean that jumps with a regime, which follows a Markov chain.

    .. math::
        y_t - \\mu(z_t) = \\sum_{i=1}^{p} \\varphi_i \\, (y_{t-i} - \\mu(z_{t-i})) + e_t,
        \\qquad e_t \\sim N(0, \\sigma^2)

    Parameters
    ----------
    n_regimes : int
        Number of regimes, K.
    order : int
        Number of lags, p.
    switching_coefficients : bool, default False
        Whether φ is that of the regime z[t].
    switching_variance : bool, default False
        Whether the variance is that of the regime z[t].
    transition_matrix : form, default Full()
        Of the moves, shape (K, K), as for `GaussianHMM`.
    initial_probabilities : Stationary() or form, default Stationary()
        Of the regime at the first row of each series.

    Raises
    ------
    InputError
        If an argument is of another kind, or there are more than 4096 histories, K^(p+1); at the fit, if there are
        several columns, missing values, or series not longer than p.

    Notes
    -----
    The likelihood is that of the rows after the first p of each series, given those. The E-step is exact, over all
    histories of p + 1 regimes. The M-step of means, coefficients and variances has no closed form: each has one given
    the others, and they are repeated in turn until they agree (ECM). With a missing value the density of the rows after
    it would depend on ever longer histories: cut a series there, and pass the parts as a panel.

    References
    ----------
    Hamilton, A new approach to the economic analysis of nonstationary time series and the business cycle, Econometrica
    57 (1989); Hamilton, Analysis of time series subject to changes in regime, Journal of Econometrics 45 (1990).

    Examples
    --------
    Hamilton's model of the business cycle:

    >>> import kalman_em as kem
    >>> growth = kem.datasets.load("us_gnp_growth")["gnp_growth_pct"]
    >>> fitted = kem.fit(kem.MarkovAutoregression(2, order=4), growth)
    >>> round(fitted.log_likelihood, 5), fitted.params.means.round(2).tolist()
    (-181.26339, [-0.36, 1.16])
    """

    n_regimes: int = field(kw_only=False)
    order: int = field(kw_only=False)
    switching_coefficients: bool = False
    switching_variance: bool = False
    transition_matrix: Any = field(default_factory=Full)
    initial_probabilities: Any = field(default_factory=Stationary)

    is_ordered: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name in ("n_regimes", "order"):
            object.__setattr__(self, name, as_count(getattr(self, name), name))
        for name in ("switching_coefficients", "switching_variance"):
            if not isinstance(getattr(self, name), bool | np.bool_):
                raise InputError(f"{name}: expected True or False, got {getattr(self, name)!r}")
        check_chain_forms(self.initial_probabilities, self.transition_matrix)
        Chain(self.n_regimes, self.initial_probabilities, self.transition_matrix)
        if self.n_regimes ** (self.order + 1) > MOST_HISTORIES:
            raise InputError(
                f"order: expected at most {MOST_HISTORIES} histories of regimes, got {self.n_regimes} to the power "
                f"{self.order + 1}"
            )

    def problem(self, panel: Panel) -> MarkovAutoregressionProblem:
        """Return the EM problem for the series of `panel`."""
        p = self.order
        check_series(panel, p)
        points = patterned(panel)
        centre, scale = float(points.centre[0]), float(points.scale[0])
        if scale <= 4.0 * np.finfo(float).eps * abs(centre):
            raise InputError(f"data: column {panel.names[0]!r} has one value throughout")
        values, lagged_starts = lagged_values(panel, p, centre)
        if len(values) < self.n_regimes:
            raise InputError(f"data: expected at least {self.n_regimes} rows with all lags, got {len(values)}")
        n = self.n_regimes ** (p + 1)
        histories = np.array(np.unravel_index(np.arange(n), (self.n_regimes,) * (p + 1))).T
        return MarkovAutoregressionProblem(
            points=points,
            rows=LaggedRows(values, centre, scale, histories),
            starts=starts_of(panel),
            lagged_starts=lagged_starts,
            chain=Chain(self.n_regimes, self.initial_probabilities, self.transition_matrix),
            switching_coefficients=bool(self.switching_coefficients),
            switching_variance=bool(self.switching_variance),
        )
