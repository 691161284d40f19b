"""Forecasts: the predictive moments of the rows ahead, as labelled tables and as scores against what came."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import scipy

from kalman_em.arrays import Array, as_floats, check_shape, first_position
from kalman_em.errors import InputError
from kalman_em.frames import (
    as_index,
    checked_levels,
    intervals,
    level_text,
    moments_frame,
    same_labels,
    standard_deviations,
    to_panel,
)


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Forecast:
    """The Gaussian predictive distribution of the h rows after the end of a series.

    Parameters
    ----------
    means : array_like, shape (h, p)
        Means of the observations y[T], ..., y[T+h-1] given y[0..T-1].
    covs : array_like, shape (h, p, p)
        Their covariances, measurement noise included.
    names : sequence of str of length p
        Names of the observed columns.
    index : pandas Index of length h
        Labels of the rows.
    state_means, state_covs : array_like, shape (h, d) and (h, d, d)
        Means and covariances of the states at those rows.
    state_names : sequence of str of length d
        Names of the states.
    note : str
        What to know before it is believed, such as bands without width; shown with the forecast.

    Raises
    ------
    InputError
        If a shape does not fit, a number is not finite, or a variance is negative.

    Examples
    --------
    >>> import pandas as pd
    >>> from kalman_em.forecasting import Forecast
    >>> forecast = Forecast(
    ...     means=[[10.0], [10.0]], covs=[[[4.0]], [[5.0]]], names=["flow"], index=pd.Index([1971, 1972]),
    ...     state_means=[[10.0], [10.0]], state_covs=[[[1.0]], [[2.0]]], state_names=["level"],
    ... )
    >>> forecast.to_frame(levels=(95,)).round(2)
          mean    sd  lower_95  upper_95
    1971  10.0  2.00      6.08     13.92
    1972  10.0  2.24      5.62     14.38
    """

    means: Array
    covs: Array
    names: tuple[str, ...]
    index: pd.Index[Any]
    state_means: Array
    state_covs: Array
    state_names: tuple[str, ...]
    note: str = ""

    def __repr__(self) -> str:
        names = ", ".join(self.names[:4]) + (", ..." if len(self.names) > 4 else "")
        note = f"; {self.note}" if self.note else ""
        return f"Forecast({names}: {len(self.index)} rows, {self.index[0]} to {self.index[-1]}; see to_frame(){note})"

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(map(str, self.names)))
        object.__setattr__(self, "state_names", tuple(map(str, self.state_names)))
        object.__setattr__(self, "index", as_index(self.index, "index"))
        for prefix, names in (("", self.names), ("state_", self.state_names)):
            means = as_floats(getattr(self, f"{prefix}means"), f"{prefix}means")
            covs = as_floats(getattr(self, f"{prefix}covs"), f"{prefix}covs")
            check_shape(means, (len(self.index), len(names)), f"{prefix}means")
            check_shape(covs, (*means.shape, len(names)), f"{prefix}covs")
            negative = np.diagonal(covs, axis1=1, axis2=2) < 0.0
            if negative.any():
                raise InputError(
                    f"{prefix}covs: expected variances of at least 0, got {first_position(negative)} below"
                )
            object.__setattr__(self, f"{prefix}means", means)
            object.__setattr__(self, f"{prefix}covs", covs)

    @property
    def n_steps(self) -> int:
        """Number of rows ahead, h."""
        return len(self.index)

    @property
    def obs_dim(self) -> int:
        """Number of observed columns, p."""
        return len(self.names)

    @property
    def state_dim(self) -> int:
        """Number of states, d."""
        return len(self.state_names)

    @property
    def sds(self) -> Array:
        """Standard deviations of the observations, shape (h, p)."""
        return standard_deviations(self.covs)

    @property
    def state_sds(self) -> Array:
        """Standard deviations of the states, shape (h, d)."""
        return standard_deviations(self.state_covs)

    def to_frame(self, levels: Any = (80, 95)) -> pd.DataFrame:
        """Return the forecast as a table, one row a step ahead.

        Parameters
        ----------
        levels : sequence of float, or one
            Levels of the central intervals, per cent.

        Returns
        -------
        DataFrame
            ``mean``, ``sd``, ``lower_80``, ``upper_80``, ``lower_95``, ``upper_95`` for one observed column; with
            several, each name starts with that of its column: ``<name>_mean``, ...

        Raises
        ------
        InputError
            If a level is not above 0 and below 100, or repeats.
        """
        if self.obs_dim > 1:
            return moments_frame(self.means, self.covs, self.names, self.index, levels=levels, mean_suffix="_mean")
        means, sds = self.means[:, 0], self.sds[:, 0]
        columns = {"mean": means.copy(), "sd": sds} | intervals(means, sds, levels)
        return pd.DataFrame(columns, index=self.index)

    def states_frame(self, levels: Any = ()) -> pd.DataFrame:
        """Return the states ahead: ``<state>``, ``<state>_sd`` and ``<state>_lower_95``, ... for each level."""
        return moments_frame(self.state_means, self.state_covs, self.state_names, self.index, levels=levels)

    def score(self, actual: Any, levels: Any = (80, 95)) -> pd.DataFrame:
        """Return how well the forecast met what came, one row a column.

        With e = y - mean and z = e / sd of each observed entry, averaged over the rows in which it was observed:

        - ``n``: how many those are
        - ``mean_error``, ``mae``, ``rmse``: mean of e, of abs(e), and the root of the mean of e^2
        - ``log_score``: log N(y; mean, sd^2), higher is better
        - ``crps``: sd (z (2 Phi(z) - 1) + 2 phi(z) - 1/sqrt(pi)), lower is better, in the unit of y; the closed form
          of the continuous ranked probability score for a Gaussian (Gneiting & Raftery, 2007, Strictly proper
          scoring rules, prediction, and estimation, JASA 102, section 4.2)
        - ``coverage_80``, ...: the share, in per cent, of values inside the interval of each level

        Parameters
        ----------
        actual : Series, DataFrame or array_like of shape (h,) or (h, p)
            What came; NaN where it was not observed. A DataFrame must have the columns forecast (others are left
            aside), and labels must be those of the forecast.
        levels : sequence of float, or one
            Levels whose coverage to report, per cent.

        Returns
        -------
        DataFrame
            One row a column of the forecast; NaN scores where nothing was observed.

        Raises
        ------
        InputError
            If `actual` has other rows, labels or columns than the forecast, or no observed value at all.

        Examples
        --------
        >>> import numpy as np, pandas as pd
        >>> from kalman_em.forecasting import Forecast
        >>> forecast = Forecast(
        ...     means=np.zeros((2, 1)), covs=np.ones((2, 1, 1)), names=["y"], index=pd.RangeIndex(2),
        ...     state_means=np.zeros((2, 1)), state_covs=np.ones((2, 1, 1)), state_names=["level"],
        ... )
        >>> forecast.score([1.0, -3.0], levels=95).round(3)
           n  mean_error  mae   rmse  log_score   crps  coverage_95
        y  2        -1.0  2.0  2.236     -3.419  1.52...         50.0
        """
        checked = checked_levels(levels)
        rows = self._actual_rows(actual)
        table = [_scores(rows[:, j], self.means[:, j], self.sds[:, j], checked) for j in range(self.obs_dim)]
        return pd.DataFrame(table, index=pd.Index(self.names))

    def _actual_rows(self, actual: Any) -> Array:
        chosen = _chosen_columns(actual, self.names)
        try:
            observed = to_panel(chosen, obs_dim=self.obs_dim, allow_unobserved=True).series[0]
        except InputError as error:
            raise InputError(str(error).replace("data:", "actual:", 1)) from error
        if isinstance(actual, pd.Series | pd.DataFrame):
            same_labels(observed.index, self.index, "actual")
        if observed.n_steps != self.n_steps:
            raise InputError(f"actual: expected {self.n_steps} rows, one a step ahead, got {observed.n_steps}")
        if observed.n_observed == 0:
            raise InputError("actual: expected at least one observed value, got none")
        return observed.values


def _chosen_columns(actual: Any, names: Sequence[str]) -> Any:
    """Return the columns forecast of a DataFrame, in order; anything else as it is."""
    if not isinstance(actual, pd.DataFrame):
        return actual
    by_text = {str(column): column for column in actual.columns}
    absent = [name for name in names if name not in by_text]
    if absent:
        raise InputError(f"actual: no column is called {absent[0]!r}; expected {', '.join(names)}")
    return actual[[by_text[name] for name in names]]


def _scores(values: Array, means: Array, sds: Array, levels: tuple[float, ...]) -> dict[str, float]:
    """Return the scores of one column; see `Forecast.score`."""
    observed = ~np.isnan(values)
    errors, sd = values[observed] - means[observed], sds[observed]
    scores: dict[str, float] = {
        "n": len(errors),
        "mean_error": _mean(errors),
        "mae": _mean(np.abs(errors)),
        "rmse": float(np.sqrt(_mean(errors**2))),
        "log_score": _log_score(errors, sd),
        "crps": _mean(_crps(errors, sd)),
    }
    bounds = intervals(np.zeros_like(sd), sd, levels)
    for level in map(level_text, levels):
        inside = (bounds[f"lower_{level}"] <= errors) & (errors <= bounds[f"upper_{level}"])
        scores[f"coverage_{level}"] = 100.0 * _mean(inside)
    return scores


def _mean(values: Any) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


def _log_score(errors: Array, sd: Array) -> float:
    """Return the mean of log N(error; 0, sd^2); -inf where a certain forecast (sd of 0) was wrong, inf if right."""
    certain = sd == 0.0
    if np.any(certain & (errors != 0.0)):
        return -np.inf
    if certain.any():
        return np.inf
    return _mean(-0.5 * (np.log(2.0 * np.pi) + (errors / sd) ** 2) - np.log(sd))


def _crps(errors: Array, sd: Array) -> Array:
    """Return the continuous ranked probability score of N(0, sd^2) at each error; abs(error) where sd is 0."""
    scale = np.where(sd == 0.0, 1.0, sd)
    z = errors / scale
    density = np.exp(-0.5 * z**2) / np.sqrt(2.0 * np.pi)
    scores = scale * (z * (2.0 * scipy.special.ndtr(z) - 1.0) + 2.0 * density - 1.0 / np.sqrt(np.pi))
    return np.where(sd == 0.0, np.abs(errors), scores)
