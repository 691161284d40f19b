"""Is the noise that was learnt consistent with the data? Innovations, their size and their whiteness."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import scipy

from kalman_em.arrays import Array, IntArray, as_floats, check_shape, frozen
from kalman_em.errors import InputError
from kalman_em.frames import checked_levels
from kalman_em.inference.steps import CANCELLED_SQUARE
from kalman_em.linalg import solve_symmetric
from kalman_em.posteriors import FilteredStates


@dataclass(frozen=True, eq=False, kw_only=True)
class Consistency:
    """Whether the innovations are as large as the model says (NIS), and white.

    Attributes
    ----------
    nis : ndarray, shape (T,)
        Normalised innovation squared v' S^-1 v of each row; NaN where nothing was observed, or all was diffuse.
    n_observed : ndarray, shape (T,)
        Number of values in it: its expectation, and the degrees of freedom of its chi-square distribution.
    level : float
        Level of the bands, per cent.
    mean_nis : float
        Mean NIS per observed value: 1 for a consistent filter, above 1 for noise learnt too small.
    lower, upper : float
        The band of `mean_nis` at `level`.
    share_inside : float
        Per cent of the rows whose own NIS is inside its chi-square band.
    whiteness : DataFrame
        One row a column of the data: Ljung-Box statistic of the standardised innovations, lags, p-value.
    """

    nis: Array
    n_observed: IntArray
    level: float
    mean_nis: float
    lower: float
    upper: float
    share_inside: float
    whiteness: pd.DataFrame

    @property
    def is_consistent(self) -> bool:
        """Whether the mean NIS is inside its band and no column's p-value is below 1 - level."""
        bad = self.whiteness["p_value"] < 1.0 - self.level / 100.0
        return bool(self.lower <= self.mean_nis <= self.upper and not bad.any())

    def __str__(self) -> str:
        verdict = "inside" if self.lower <= self.mean_nis <= self.upper else "outside"
        lines = [
            f"NIS per observed value: {self.mean_nis:.3f}, {verdict} its {self.level:g} % band "
            f"[{self.lower:.3f}, {self.upper:.3f}]",
            f"rows inside their own band: {self.share_inside:.1f} %",
            "whiteness of the standardised innovations (Ljung-Box):",
            *("  " + line for line in self.whiteness.to_string(float_format="{:.4g}".format).splitlines()),
        ]
        return "\n".join(lines)

    __repr__ = __str__


def standardised_innovations(filtered: FilteredStates) -> Array:
    """Return L^-1 v of each row, S = L L' the covariance of what was observed: (T, p), unit variance if all is well.

    NaN where a value is missing, its prediction is diffuse, or it brings nothing new (a variance of 0 given the
    columns before it).

    References
    ----------
    Durbin and Koopman, Time Series Analysis by State Space Methods, 2nd ed. 2012, section 2.12.1.
    """
    result = np.full(filtered.innovations.shape, np.nan)
    for t, (innovation, cov) in enumerate(zip(filtered.innovations, filtered.innovation_covs, strict=True)):
        seen = np.flatnonzero(~np.isnan(innovation))
        spread = cov[np.ix_(seen, seen)].copy()
        rest = innovation[seen].copy()
        # One column after the other: what is left of each, given those before it.
        for i, column in enumerate(seen):
            if spread[i, i] > CANCELLED_SQUARE * cov[column, column]:
                result[t, column] = rest[i] / np.sqrt(spread[i, i])
                gain = spread[i + 1 :, i] / spread[i, i]
                rest[i + 1 :] -= gain * rest[i]
                spread[i + 1 :, i + 1 :] -= np.outer(gain, spread[i, i + 1 :])
    return frozen(result)


def consistency(
    filtered: FilteredStates, names: tuple[str, ...], *, lags: int | None = None, level: float = 95.0
) -> Consistency:
    """Return the consistency report of a filtered series.

    Parameters
    ----------
    filtered : FilteredStates
        A series filtered with the learnt parameters.
    names : tuple of str
        Names of the columns.
    lags : int, optional
        Lags of the Ljung-Box test; min(10, T // 5) when left out. Pairs with a missing value are left out.
    level : float
        Level of the bands, per cent.

    Raises
    ------
    InputError
        If `level` is not between 0 and 100, or `lags` not a whole number from 1 to T - 2.

    References
    ----------
    Bar-Shalom, Li and Kirubarajan, Estimation with Applications to Tracking and Navigation, 2001, section 5.4.2;
    Ljung and Box, On a measure of lack of fit in time series models, Biometrika 65 (1978).

    Examples
    --------
    >>> import kalman_em as kem
    >>> fitted = kem.fit(kem.LocalLevel(), kem.datasets.load("nile")["flow"])
    >>> fitted.consistency().is_consistent
    True
    """
    n_steps = len(filtered.innovations)
    (level,) = checked_levels((level,), "level")
    lags = max(1, min(10, n_steps // 5)) if lags is None else lags
    if isinstance(lags, bool) or not isinstance(lags, int | np.integer) or not 1 <= lags <= max(n_steps - 2, 1):
        raise InputError(f"lags: expected a whole number from 1 to {max(n_steps - 2, 1)}, got {lags!r}")
    standardised = standardised_innovations(filtered)
    count = np.count_nonzero(~np.isnan(standardised), axis=1)
    nis = np.where(count > 0, np.nansum(standardised**2, axis=1), np.nan)
    total = int(count.sum())
    tail = 0.5 * (1.0 - level / 100.0)
    seen = count > 0
    if total == 0:
        raise InputError("filtered: expected at least one observation with a proper prediction, got none")
    inside = (nis[seen] >= _chi_squared(tail, count[seen])) & (nis[seen] <= _chi_squared(1.0 - tail, count[seen]))
    lower, upper = mean_band(total, level)
    rows = [_ljung_box(standardised[:, column], int(lags)) for column in range(len(names))]
    return Consistency(
        nis=frozen(nis),
        n_observed=frozen(count.astype(np.int64)),
        level=float(level),
        mean_nis=float(np.nansum(nis) / total),
        lower=lower,
        upper=upper,
        share_inside=100.0 * float(inside.mean()),
        whiteness=pd.DataFrame(rows, index=pd.Index(names, name="column")),
    )


def mean_band(n_values: int, level: float) -> tuple[float, float]:
    """Return the band of the mean of `n_values` squares of standard normal numbers, `level` in per cent."""
    tail = 0.5 * (1.0 - level / 100.0)
    low, high = (float(_chi_squared(share, n_values)) / n_values for share in (tail, 1.0 - tail))
    return low, high


def innovations_frame(filtered: FilteredStates, names: tuple[str, ...], index: pd.Index[Any]) -> pd.DataFrame:
    """Return the innovations as a table: as they are, their standard deviations, and standardised.

    For one column ``innovation``, ``innovation_sd`` and ``standardised``; for several each name starts with that of its
    column. NaN as in `standardised_innovations`.
    """
    prefixes = [f"{name}_" for name in names] if len(names) > 1 else [""]
    standardised = standardised_innovations(filtered)
    # Of a diffuse prediction there is neither an innovation nor its spread.
    there = ~np.isnan(filtered.innovations) & np.isfinite(np.diagonal(filtered.innovation_covs, axis1=1, axis2=2))
    variances = np.where(there, np.diagonal(filtered.innovation_covs, axis1=1, axis2=2), np.nan)
    columns: dict[str, Array] = {}
    for j, prefix in enumerate(prefixes):
        columns[f"{prefix}innovation"] = np.where(there[:, j], filtered.innovations[:, j], np.nan)
        columns[f"{prefix}innovation_sd"] = np.sqrt(variances[:, j])
        columns[f"{prefix}standardised"] = standardised[:, j]
    return pd.DataFrame(columns, index=index)


def nees(means: Array, covs: Array, truth: Any) -> Array:
    """Return the normalised estimation error squared e' P^-1 e of each row, e = truth - mean: shape (T,).

    For a consistent filter or smoother it is chi-square with as many degrees of freedom as there are states. The errors
    of neighbouring rows go together: average over independent runs (tracks), not along one.

    Parameters
    ----------
    means, covs : ndarray, shape (T, d) and (T, d, d)
        Of the states, filtered or smoothed; inf or NaN while a state is diffuse gives NaN.
    truth : array_like, shape (T, d)
        The true states.

    Raises
    ------
    InputError
        If the shapes differ.

    References
    ----------
    Bar-Shalom, Li and Kirubarajan, Estimation with Applications to Tracking and Navigation, 2001, section 5.4.2.

    Examples
    --------
    >>> import numpy as np
    >>> from kalman_em import nees
    >>> nees(np.zeros((1, 2)), np.diag([1.0, 4.0])[None], [[1.0, 2.0]]).tolist()
    [2.0]
    """
    for name, value in (("means", means), ("covs", covs)):
        if not isinstance(value, np.ndarray):
            raise InputError(f"{name}: expected an array, as in states.smoothed_{name}, got {type(value).__name__}")
    if means.ndim != 2:
        raise InputError(f"means: expected shape (T, d), got {means.shape}")
    known = as_floats(truth, "truth")
    check_shape(known, means.shape, "truth")
    check_shape(covs, (*means.shape, means.shape[1]), "covs")
    errors = known - means
    result = np.full(len(errors), np.nan)
    for t, (error, cov) in enumerate(zip(errors, covs, strict=True)):
        if np.all(np.isfinite(error)) and np.all(np.isfinite(cov)):
            result[t] = error @ solve_symmetric(cov, error[:, None])[:, 0]
    return frozen(result)


def _ljung_box(values: Array, lags: int) -> dict[str, Any]:
    """Return the Ljung-Box statistic over the pairs that were both observed, and its chi-square p-value."""
    n = int(np.count_nonzero(~np.isnan(values)))
    if n < lags + 2:
        return {"statistic": np.nan, "lags": lags, "p_value": np.nan}
    centred = values - np.nanmean(values)
    variance = np.nansum(centred**2)
    if variance == 0.0:
        return {"statistic": np.nan, "lags": lags, "p_value": np.nan}
    statistic = 0.0
    for lag in range(1, lags + 1):
        correlation = np.nansum(centred[lag:] * centred[:-lag]) / variance
        statistic += correlation**2 / (n - lag)
    statistic *= n * (n + 2)
    return {"statistic": float(statistic), "lags": lags, "p_value": float(scipy.special.chdtrc(lags, statistic))}


def _chi_squared(probability: float, degrees: Any) -> Any:
    """Return the quantile of the chi-squared distribution (scipy.stats would take longer to import than to use)."""
    return 2.0 * scipy.special.gammaincinv(0.5 * np.asarray(degrees), probability)
