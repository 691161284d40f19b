"""What is known of the states: after each observation (`FilteredStates`), after all (`SmoothedStates`)."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from kalman_em.arrays import Array, Differences, Table, check_shape
from kalman_em.errors import InputError
from kalman_em.observations import Observations


class LaidOut:
    """Frozen values some of whose arrays may be given as tables or differences, made over the rows when asked for.

    Where a filter has converged, rows share their covariances: most callers never ask for all T of them.
    """

    def __getattr__(self, name: str) -> Array:
        """Lay out a table; numpy and pickle ask for names that there are not."""
        table = self.__dict__.get("_tables", {}).get(name)
        if table is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        array: Array = table.at_rows()
        object.__setattr__(self, name, array)
        return array

    def table(self, name: str) -> Table | None:
        """Return the table that an array was given as, if it was."""
        found = self.__dict__.get("_tables", {}).get(name)
        return found if isinstance(found, Table) else None

    def _set_tables_aside(self) -> None:
        tables = {name: value for name, value in self.__dict__.items() if isinstance(value, Table | Differences)}
        for name in tables:
            object.__delattr__(self, name)
        object.__setattr__(self, "_tables", tables)

    def _shape(self, name: str) -> tuple[int, ...]:
        given = self.__dict__.get("_tables", {}).get(name)
        shape: tuple[int, ...] = (getattr(self, name) if given is None else given).shape
        return shape


@dataclass(frozen=True, eq=False, kw_only=True)
class FilteredStates(LaidOut):
    """The moments of the states given the observations so far.

    Attributes
    ----------
    predicted_means, predicted_covs : ndarray, shape (T, d) and (T, d, d)
        Mean and covariance of x[t] given y[0..t-1].
    filtered_means, filtered_covs : ndarray, shape (T, d) and (T, d, d)
        Mean and covariance of x[t] given y[0..t].
    log_likelihoods : ndarray, shape (T,)
        log p(y[t] given y[0..t-1]); 0 for a row in which nothing was observed.
    innovations : ndarray, shape (T, p)
        y[t] minus its prediction; NaN where y is missing and while the prediction is diffuse.
    innovation_covs : ndarray, shape (T, p, p)
        Covariance of the prediction of y[t]; NaN while the prediction is diffuse (its variance is infinite).
    n_diffuse_steps : int
        Number of leading steps after which some direction of the state was still diffuse. There the covariances
        hold the finite part, and `diffuse_factors` the rest: P = covs + κ A A', κ to infinity.
    diffuse_factors : ndarray, shape (n_diffuse_steps, d, d)
        A at each of those steps (after the observation), padded with zero columns.
    times : ndarray, shape (T,), optional
        The time stamps of the observations, if they had any.
    numerics : str
        "standard", or "square_root" where factors of the covariances were carried.
    observations : Observations, optional
        What was filtered, for a smoother that must begin anew.

    Raises
    ------
    InputError
        If one is not an array, or its shape does not fit the others.

    Examples
    --------
    >>> from kalman_em import LinearGaussianSystem, Observations, kalman_filter
    >>> walk = LinearGaussianSystem(
    ...     transition_matrix=[[1.0]], transition_cov=[[1.0]], observation_matrix=[[1.0]],
    ...     observation_cov=[[2.0]], initial_mean=[0.0], initial_cov=[[2.0]])
    >>> filtered = kalman_filter(walk, Observations([[1.0], [float("nan")], [3.0]]))
    >>> filtered.predicted_means.ravel().tolist(), filtered.filtered_covs.ravel().round(9).tolist()
    ([0.0, 0.5, 0.5], [1.0, 2.0, 1.2])
    >>> filtered.innovations.ravel().tolist(), filtered.n_diffuse_steps
    ([1.0, nan, 2.5], 0)
    """

    predicted_means: Array
    predicted_covs: Array
    filtered_means: Array
    filtered_covs: Array
    log_likelihoods: Array
    innovations: Array
    innovation_covs: Array
    diffuse_factors: Array
    times: Array | None = None
    numerics: str = "standard"
    observations: Observations | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self._set_tables_aside()
        _check_arrays(self, {"predicted_means": 2, "innovations": 2, "diffuse_factors": 3})
        n_steps, d = self.predicted_means.shape
        p = self.n_columns
        _check(self._shape("predicted_covs"), (n_steps, d, d), "predicted_covs")
        check_shape(self.filtered_means, (n_steps, d), "filtered_means")
        _check(self._shape("filtered_covs"), (n_steps, d, d), "filtered_covs")
        check_shape(self.log_likelihoods, (n_steps,), "log_likelihoods")
        _check(self._shape("innovations"), (n_steps, p), "innovations")
        _check(self._shape("innovation_covs"), (n_steps, p, p), "innovation_covs")
        check_shape(self.diffuse_factors, (len(self.diffuse_factors), d, d), "diffuse_factors")
        if self.times is not None:
            check_shape(self.times, (n_steps,), "times")

    @property
    def log_likelihood(self) -> float:
        """log p(y), every 2π included."""
        return float(self.log_likelihoods.sum())

    @property
    def n_columns(self) -> int:
        """Number of columns of the observations."""
        return self._shape("innovations")[1]

    @property
    def n_diffuse_steps(self) -> int:
        """Number of leading steps after which the state was still partly diffuse."""
        return len(self.diffuse_factors)


@dataclass(frozen=True, eq=False, kw_only=True)
class SmoothedStates(LaidOut):
    """The moments of the states given all observations.

    Attributes
    ----------
    smoothed_means, smoothed_covs : ndarray, shape (T, d) and (T, d, d)
        Mean and covariance of x[t] given y[0..T-1].
    lag_one_covs : ndarray, shape (T-1, d, d)
        Entry t is Cov[x[t+1], x[t] given y[0..T-1]].
    numerics : str
        "standard", or "square_root" where factors of the covariances were carried.

    Raises
    ------
    InputError
        If one is not an array, or its shape does not fit the others.

    Examples
    --------
    >>> from kalman_em import LinearGaussianSystem, Observations, kalman_filter, rts_smoother
    >>> walk = LinearGaussianSystem(
    ...     transition_matrix=[[1.0]], transition_cov=[[1.0]], observation_matrix=[[1.0]],
    ...     observation_cov=[[2.0]], initial_mean=[0.0], initial_cov=[[2.0]])
    >>> smoothed = rts_smoother(walk, kalman_filter(walk, Observations([[1.0], [float("nan")], [3.0]])))
    >>> smoothed.smoothed_covs.ravel().round(3).tolist(), smoothed.lag_one_covs.ravel().round(3).tolist()
    ([0.8, 1.2, 1.2], [0.6, 0.8])
    """

    smoothed_means: Array
    smoothed_covs: Array
    lag_one_covs: Array
    numerics: str = "standard"

    def __post_init__(self) -> None:
        self._set_tables_aside()
        _check_arrays(self, {"smoothed_means": 2})
        n_steps, d = self.smoothed_means.shape
        _check(self._shape("smoothed_covs"), (n_steps, d, d), "smoothed_covs")
        _check(self._shape("lag_one_covs"), (n_steps - 1, d, d), "lag_one_covs")


def _check(shape: tuple[int, ...], expected: tuple[int, ...], name: str) -> None:
    if shape != expected:
        raise InputError(f"{name}: expected shape {expected}, got {shape}")


def _check_arrays(moments: Any, dimensions: dict[str, int]) -> None:
    """Check that every field of `Array` type is an array, and the number of dimensions of those named.

    Rows that lie side by side in memory are what the loops back read as vectors: others are copied.
    """
    for name in (part.name for part in fields(moments) if part.type == "Array"):
        if name in moments.__dict__["_tables"]:
            continue
        value = getattr(moments, name)
        if not isinstance(value, np.ndarray):
            raise InputError(f"{name}: expected an array, got {type(value).__name__}")
        if value.ndim != dimensions.get(name, value.ndim):
            raise InputError(f"{name}: expected {dimensions[name]} dimensions, got shape {value.shape}")
        object.__setattr__(moments, name, np.asarray(value, dtype=np.float64, order="C"))
