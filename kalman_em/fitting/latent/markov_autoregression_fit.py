"""A fitted Markov autoregression."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from kalman_em.arrays import Array, as_count
from kalman_em.errors import InputError
from kalman_em.fitting.latent.regime_fit import RegimeFit
from kalman_em.fitting.latent.regime_forecast import RegimeForecast
from kalman_em.fitting.summary import matrix_lines, wrapped
from kalman_em.frames import continued_index
from kalman_em.inference.arguments import as_generator
from kalman_em.inference.regimes import draw_path
from kalman_em.observations import Panel


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class MarkovAutoregressionFit(RegimeFit):
    """A fitted `MarkovAutoregression`; `params` are `means`, `coefficients`, `variances` and those of the chain.

    Raises
    ------
    InputError
        If a field is of another type; `kalman_em.fit` makes them.

    Examples
    --------
    >>> import kalman_em as kem
    >>> growth = kem.datasets.load("us_gnp_growth")["gnp_growth_pct"]
    >>> fitted = kem.fit(kem.MarkovAutoregression(2, order=4), growth)
    >>> fitted.params.coefficients.round(2).tolist(), fitted.params.variances.round(2).tolist()
    ([0.01, -0.06, -0.25, -0.21], [0.59])
    >>> fitted.expected_durations.round(1).tolist()
    [4.1, 10.4]
    """

    @property
    def n_rows(self) -> int:
        """Number of rows whose density is in the likelihood, the n of BIC: the first `order` of a series are given."""
        return super().n_rows - self.panel.n_series * int(self.em.params.order)

    def forecast(self, steps: int, *, series: Hashable | None = None) -> RegimeForecast:
        """Return the probabilities of the regimes, and the distribution of the observations, `steps` rows ahead.

        The deviation from the mean is an autoregression of its own, whatever the regimes: so a row ahead is a mixture
        over the history at the end and the regime then.

        Parameters
        ----------
        steps : int
            How far, at least 1.
        series : hashable, optional
            The series of a panel.

        Raises
        ------
        InputError
            If one of the last p rows is missing, coefficients or variance switch (the mixture would grow with every
            step), `steps` is no whole number of at least 1, there is no such series, or its index cannot be continued.

        Examples
        --------
        >>> import kalman_em as kem
        >>> growth = kem.datasets.load("us_gnp_growth")["gnp_growth_pct"]
        >>> kem.fit(kem.MarkovAutoregression(2, order=4), growth).forecast(2).to_frame(levels=()).round(2)
                 mean    sd
        quarter
        1985Q1   0.62  0.94
        1985Q2   1.05  0.99
        """
        steps = as_count(steps, "steps")
        params, problem = self.em.params, self._problem
        if problem.switching_coefficients or problem.switching_variance:
            raise InputError(
                "forecast: expected coefficients and variance that do not switch; use forecast_regimes, or sample"
            )
        position = self.position(series)
        one, K, p = self.panel.series[position], params.n_regimes, params.order
        if one.is_missing[-p:].any():
            raise InputError(f"forecast: expected the last {p} rows of the series observed; use forecast_regimes")
        weights = problem.last_history(params, position)
        histories = problem.rows.histories
        recent = one.values[::-1, 0][:p] - params.means[histories[:, :p]]
        responses = _responses(params.coefficients, steps)
        means, covs, shares = [], [], []
        ahead = np.eye(K)
        for h in range(1, steps + 1):
            ahead = ahead @ params.transition_matrix
            deviation = recent @ _weights_of_past(params.coefficients, h)
            means.append((params.means[None, :] + deviation[:, None]).ravel())
            covs.append(np.full(len(histories) * K, params.variances[0] * float(np.sum(responses[:h] ** 2))))
            shares.append((weights[:, None] * ahead[histories[:, 0]]).ravel())
        mixed = np.array(shares)
        return RegimeForecast(
            probabilities=mixed.reshape(steps, -1, K).sum(axis=1),
            weights=mixed,
            component_means=np.array(means)[:, :, None],
            component_covs=np.array(covs)[:, :, None, None],
            names=one.names or (),
            index=continued_index(one.index, steps),
        )

    def forecast_regimes(self, steps: int, *, series: Hashable | None = None) -> pd.DataFrame:
        """Return the probabilities of the regimes `steps` rows ahead, whatever switches; arguments as of `forecast`."""
        steps = as_count(steps, "steps")
        position = self.position(series)
        ahead, found = self._posterior.filtered[self.last_row(position)], []
        for _ in range(steps):
            ahead = ahead @ self.params.transition_matrix
            found.append(ahead)
        index = continued_index(self.panel.series[position].index, steps)
        return pd.DataFrame(np.array(found), index=index, columns=pd.RangeIndex(self.n_regimes))

    def sample(self, n_steps: int, *, rng: np.random.Generator | None = None) -> pd.DataFrame:
        """Return a series drawn from the fitted model: its column, and the ``regime`` of each row.

        The first p rows are without error, as the model says nothing of them.

        Raises
        ------
        InputError
            If `n_steps` is no whole number of at least 1, or `rng` is no generator.
        """
        n_steps = as_count(n_steps, "n_steps")
        rng = as_generator(rng)
        params, p = self.em.params, self.em.params.order
        path = draw_path(n_steps, params.initial_probabilities, params.transition_matrix, rng)
        errors = rng.standard_normal(n_steps) * np.sqrt(params.spreads[path])
        lags, deviations = -params.filters[:, 1:], np.zeros(n_steps)
        for t in range(p, n_steps):
            deviations[t] = lags[path[t]] @ deviations[t - p : t][::-1] + errors[t]
        return pd.DataFrame({self.panel.names[0]: params.means[path] + deviations, "regime": path})

    def impute(self, data: Any = None) -> pd.DataFrame:
        """Return series with each missing value as expected given all that was observed; the rest stays as it is.

        The argument is that of `probabilities`.

        Raises
        ------
        InputError
            If `data` cannot be read, or a value after the last observed one is missing: see `forecast`.
        """
        panel, problem = self._seen(data)
        for key, one in zip(panel.keys or (), panel, strict=True):
            if one.is_missing[-1, 0]:
                where = f" of series {key!r}" if panel.n_series > 1 else ""
                raise InputError(f"data: expected an observed last row{where}; what comes after the last is a forecast")
        complete = not any(one.is_missing.any() for one in panel)
        values = np.concatenate([one.values for one in panel])
        return self._filled(values if complete else problem.expected_values(self.em.params), panel)

    def _problem_of(self, panel: Panel) -> Any:
        model: Any = self.model
        return model.seeing(self.problem, panel)

    @property
    def _problem(self) -> Any:
        return self.problem

    def _parameter_lines(self) -> list[str]:
        params, K = self.em.params, self.n_regimes
        table = np.column_stack([params.means, np.sqrt(params.spreads), -params.filters[:, 1:]])
        columns = ["mean", "sd of e", *(f"lag {i + 1}" for i in range(params.order))]
        rows = matrix_lines(table, None, [str(k) for k in range(K)], columns)
        said = wrapped("M-step: means, coefficients, variances in turn, each given the others (ECM).")
        return ["regimes", *("    " + line for line in rows), *self._chain_lines(), *said]


def _responses(coefficients: Array, n: int) -> Array:
    """Return what an error of 1 adds to the deviation 0, 1, ..., n - 1 rows later."""
    responses = np.zeros(n)
    responses[0] = 1.0
    for h in range(1, n):
        lags = coefficients[: min(h, len(coefficients))]
        responses[h] = lags @ responses[h - len(lags) : h][::-1]
    return responses


def _weights_of_past(coefficients: Array, h: int) -> Array:
    """Return the weights of the latest p deviations, the latest first, in the one expected h rows later."""
    p = len(coefficients)
    companion = np.eye(p, k=-1)
    companion[0] = coefficients
    return np.asarray(np.linalg.matrix_power(companion, h)[0])
