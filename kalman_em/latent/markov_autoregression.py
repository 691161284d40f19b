"""Markov autoregression: a series that returns to a mean which jumps with the regime."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from kalman_em.arrays import as_count
from kalman_em.em.forms import Full, Stationary
from kalman_em.errors import InputError
from kalman_em.latent.autoregression_gaps import stretches
from kalman_em.latent.chain import Chain, check_chain_forms
from kalman_em.latent.gapped_autoregression import GappedProblem
from kalman_em.latent.lagged_rows import check_series, lagged_values
from kalman_em.latent.markov_autoregression_problem import MarkovAutoregressionProblem
from kalman_em.latent.regime_autoregression import LaggedRows
from kalman_em.latent.rows import PatternedRows, patterned
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

    `kalman_em.fit` returns a `MarkovAutoregressionFit`.

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
        several columns, series not longer than p, or a gap over which there are too many paths (see the notes).

    Notes
    -----
    The likelihood is that of the rows after the first p of each series, given those. The E-step is exact, over all
    histories of p + 1 regimes. The M-step of means, coefficients and variances has no closed form: each has one given
    the others, and they are repeated in turn until they agree (ECM).

    Missing values (NaN) are integrated out exactly, along every path of regimes over the rows that feel them: from a
    missing value to p observed rows in a row, or the last value of the series. Their number, K^(p + L) for L such rows,
    may be up to 16384; the first p rows of a series must be observed. The fit then takes longer.

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
        check_series(panel, self.order)
        points = patterned(panel)
        if float(points.scale[0]) <= 4.0 * np.finfo(float).eps * abs(float(points.centre[0])):
            raise InputError(f"data: column {panel.names[0]!r} has one value throughout")
        n = sum(int(np.count_nonzero(~one.is_missing[self.order :])) for one in panel)
        if n < self.n_regimes:
            raise InputError(f"data: expected at least {self.n_regimes} values with all lags, got {n}")
        return self._laid_out(panel, points)

    def seeing(self, problem: MarkovAutoregressionProblem, panel: Panel) -> MarkovAutoregressionProblem:
        """Return the problem for other series, measured from the centre and in the unit of `problem`."""
        check_series(panel, self.order)
        return self._laid_out(panel, problem.points.of(np.concatenate([one.values for one in panel])))

    def _laid_out(self, panel: Panel, points: PatternedRows) -> MarkovAutoregressionProblem:
        K, p = self.n_regimes, self.order
        centre, scale = float(points.centre[0]), float(points.scale[0])
        histories = np.array(np.unravel_index(np.arange(K ** (p + 1)), (K,) * (p + 1))).T
        parts: dict[str, Any] = {
            "points": points,
            "starts": starts_of(panel),
            "chain": Chain(K, self.initial_probabilities, self.transition_matrix),
            "switching_coefficients": bool(self.switching_coefficients),
            "switching_variance": bool(self.switching_variance),
        }
        if points.is_complete:
            values, lagged_starts = lagged_values(panel, p, centre)
            rows = LaggedRows(values, centre, scale, histories)
            return MarkovAutoregressionProblem(rows=rows, lagged_starts=lagged_starts, **parts)
        columns = [one.values[:, 0] - centre for one in panel]
        values, found = stretches(columns, panel.keys or range(panel.n_series), p, K)
        rows = LaggedRows(values, centre, scale, histories)
        return GappedProblem(rows=rows, lagged_starts=np.zeros(1, dtype=np.int64), stretches=found, **parts)
