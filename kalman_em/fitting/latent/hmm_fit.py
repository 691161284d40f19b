"""A fitted Gaussian hidden Markov model."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from kalman_em.arrays import as_count
from kalman_em.errors import InputError
from kalman_em.fitting.latent.regime_fit import RegimeFit
from kalman_em.fitting.latent.regime_forecast import RegimeForecast
from kalman_em.fitting.latent.series_stream import SeriesStream
from kalman_em.fitting.latent.tables import gaussian_table, table_lines
from kalman_em.frames import continued_index
from kalman_em.inference.arguments import as_generator
from kalman_em.inference.regimes import draw_path
from kalman_em.latent.emissions import completed_rows


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class HMMFit(RegimeFit):
    """A fitted `GaussianHMM`; `params` are `means`, `covs`, `initial_probabilities` and `transition_matrix`.

    Raises
    ------
    InputError
        If a field is of another type; `kalman_em.fit` makes them.

    Examples
    --------
    >>> import kalman_em as kem
    >>> growth = kem.datasets.load("us_gnp_growth")["gnp_growth_pct"]
    >>> fitted = kem.fit(kem.GaussianHMM(2), growth)
    >>> fitted
    HMMFit(GaussianHMM of gnp_growth_pct: 135 rows, log-likelihood -190.312, converged)
    >>> fitted.probabilities().loc["1982Q1"].round(2).tolist()
    [1.0, 0.0]
    >>> fitted.expected_durations.round(1).tolist()
    [4.4, 8.6]
    """

    def impute(self, data: Any = None) -> pd.DataFrame:
        """Return rows with each missing entry at its mean given all that was observed of the series.

        That mean is Σ_k P(regime k given the data) E[x_m given x_o, k]; what was observed stays as it is.

        Parameters
        ----------
        data : Series, DataFrame, array_like of shape (n,) or (n, p), Observations or Panel, optional
            Other series of the same columns; those that were learnt from when left out.

        Raises
        ------
        InputError
            If `data` cannot be read, has other columns, or skips steps.

        Examples
        --------
        >>> import kalman_em as kem
        >>> fitted = kem.fit(kem.GaussianHMM(2), kem.datasets.load("us_gnp_growth")["gnp_growth_pct"])
        >>> fitted.impute([1.2, None, 1.4, -1.5, None, -1.2]).round(1).to_numpy().ravel().tolist()
        [1.2, 1.0, 1.4, -1.5, -0.1, -1.2]
        """
        panel, problem = self._seen(data)
        shares = self._posterior_of(data)[1].smoothed
        return self._filled(completed_rows(self.em.params, problem.rows, shares), panel)

    def forecast(self, steps: int, *, series: Hashable | None = None) -> RegimeForecast:
        """Return the probabilities of the regimes, and the distribution of the observations, `steps` rows ahead.

        Parameters
        ----------
        steps : int
            How far, at least 1.
        series : hashable, optional
            The series of a panel.

        Raises
        ------
        InputError
            If `steps` is no whole number of at least 1, there is no such series, or its index cannot be continued.

        References
        ----------
        Hamilton, Time Series Analysis, 1994, equation 22.3.13.

        Examples
        --------
        >>> import kalman_em as kem
        >>> growth = kem.datasets.load("us_gnp_growth")["gnp_growth_pct"]
        >>> forecast = kem.fit(kem.GaussianHMM(2), growth).forecast(2)
        >>> forecast.to_frame(levels=(95,)).round(2)
                 mean    sd  lower_95  upper_95
        quarter
        1985Q1   0.75  1.07     -1.57       2.6
        1985Q2   0.74  1.07     -1.58       2.6
        """
        steps = as_count(steps, "steps")
        position = self.position(series)
        one = self.panel.series[position]
        params, ahead = self.params, self._posterior.filtered[self.last_row(position)]
        probabilities = []
        for _ in range(steps):
            ahead = ahead @ params.transition_matrix
            probabilities.append(ahead)
        weights = np.array(probabilities)
        return RegimeForecast(
            probabilities=weights,
            weights=weights,
            component_means=np.broadcast_to(params.means, (steps, *params.means.shape)),
            component_covs=np.broadcast_to(params.covs, (steps, *params.covs.shape)),
            names=one.names or (),
            index=continued_index(one.index, steps),
        )

    def stream(self, exponent: float = 0.6) -> SeriesStream:
        """Return a stream that goes on learning from here, series by series: see `SeriesStream`.

        Parameters
        ----------
        exponent : float
            Above 0.5, at most 1: of the steps γ = (m / n)^exponent; smaller ones forget sooner.

        Raises
        ------
        InputError
            If `exponent` is out of its range.
        """
        if not 0.5 < exponent <= 1.0:
            raise InputError(f"exponent: expected a number above 0.5 and at most 1, got {exponent!r}")
        problem: Any = self.problem
        expectations, _ = problem.e_step(self.em.params)
        n = self.panel.n_series
        return SeriesStream(
            problem=problem,
            latest=self.em.params,
            expectations=problem.pooled([(1.0 / n, expectations)]),
            read=self._read,
            exponent=float(exponent),
            n_series=n,
        )

    def sample(self, n_steps: int, *, rng: np.random.Generator | None = None) -> pd.DataFrame:
        """Return a series drawn from the fitted model: its columns, and the ``regime`` of each row.

        Raises
        ------
        InputError
            If `n_steps` is no whole number of at least 1, or `rng` is no generator.

        Examples
        --------
        >>> import numpy as np
        >>> import kalman_em as kem
        >>> growth = kem.datasets.load("us_gnp_growth")["gnp_growth_pct"]
        >>> drawn = kem.fit(kem.GaussianHMM(2), growth).sample(100, rng=np.random.default_rng(0))
        >>> drawn.columns.tolist(), len(drawn)
        (['gnp_growth_pct', 'regime'], 100)
        """
        n_steps = as_count(n_steps, "n_steps")
        rng = as_generator(rng)
        params = self.em.params
        path = draw_path(n_steps, params.initial_probabilities, params.transition_matrix, rng)
        drawn = pd.DataFrame(params.sample(path, rng), columns=pd.Index(self.panel.names))
        return drawn.assign(regime=path)

    def _parameter_lines(self) -> list[str]:
        params = self.params
        first = {"at first row": params.initial_probabilities}
        cells = gaussian_table(self.panel.names, params.means, params.covs, **first)
        return ["regimes", *("    " + line for line in table_lines(cells)), *self._chain_lines()]
