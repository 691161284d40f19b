"""The Rauch-Tung-Striebel smoother with lag-one covariances."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kalman_em.arrays import Array, IntArray, frozen
from kalman_em.errors import InputError, NumericalError
from kalman_em.inference.loops import smooth_rows
from kalman_em.inference.rows import Table, noise_covs
from kalman_em.posteriors import FilteredStates, SmoothedStates
from kalman_em.systems import LinearGaussianSystem


@dataclass(frozen=True, eq=False)
class SmoothedRows:
    """The smoother's output over the rows of all series; the lag-one entry of a series' last row is 0."""

    smoothed_means: Array
    smoothed_covs: Array
    lag_one_covs: Array


def rts_smoother(system: LinearGaussianSystem, filtered: FilteredStates) -> SmoothedStates:
    """Run the smoother back over a filtered series.

    The state at t given the state at t+1 and y[0..t] is again a filter update, with x[t+1] in the place of the
    observation; it needs no inverse of a covariance, and holds for singular Q and for diffuse starts.

    Parameters
    ----------
    system : LinearGaussianSystem
        The system that was filtered.
    filtered : FilteredStates
        The result of `kalman_filter` for that system.

    Returns
    -------
    SmoothedStates
        Smoothed means (T, d) and covariances (T, d, d), and lag-one covariances (T-1, d, d), entry t being
        Cov[x[t+1], x[t] given all y].

    Raises
    ------
    InputError
        If the dimensions of system and filtered states differ.
    NumericalError
        If the observations never resolve a diffuse element of the initial state.

    References
    ----------
    Rauch, Tung and Striebel, Maximum likelihood estimates of linear dynamic systems, AIAA Journal 3 (1965),
    equations (3.29)-(3.31); Shumway and Stoffer, Time Series Analysis and Its Applications, 4th ed. 2017,
    properties 6.2 and 6.3.

    Examples
    --------
    >>> from kalman_em import LinearGaussianSystem, Observations, kalman_filter, rts_smoother
    >>> walk = LinearGaussianSystem(
    ...     transition_matrix=[[1.0]], transition_cov=[[1.0]], observation_matrix=[[1.0]],
    ...     observation_cov=[[2.0]], initial_mean=[0.0], initial_cov=[[2.0]])
    >>> filtered = kalman_filter(walk, Observations([[1.0], [float("nan")], [3.0]]))
    >>> smoothed = rts_smoother(walk, filtered)
    >>> smoothed.smoothed_means.round(3).tolist()
    [[1.0], [1.5], [2.0]]
    >>> smoothed.lag_one_covs.shape
    (2, 1, 1)
    """
    n_steps, d = filtered.filtered_means.shape
    if d != system.state_dim:
        raise InputError(f"filtered: expected states of dimension {system.state_dim}, as the system's, got {d}")
    system_steps = np.arange(n_steps)
    columns = np.zeros(n_steps, dtype=np.int64)
    columns[: filtered.n_diffuse_steps] = np.any(filtered.diffuse_factors != 0.0, axis=1).sum(axis=1)
    result = smooth_all(
        starts=frozen(np.array([0, n_steps], dtype=np.int64)),
        transition=_table(system.transition_matrix, system_steps),
        noise_cov=_table(noise_covs(system), system_steps),
        predicted_means=filtered.predicted_means,
        filtered_means=filtered.filtered_means,
        filtered_covs=filtered.filtered_covs,
        factors=filtered.diffuse_factors,
        columns=frozen(columns),
    )
    return SmoothedStates(
        smoothed_means=result.smoothed_means,
        smoothed_covs=result.smoothed_covs,
        lag_one_covs=result.lag_one_covs[:-1],
    )


def smooth_all(
    *,
    starts: IntArray,
    transition: Table,
    noise_cov: Table,
    predicted_means: Array,
    filtered_means: Array,
    filtered_covs: Array,
    factors: Array,
    columns: IntArray,
) -> SmoothedRows:
    """Smooth every series; `NumericalError` where a diffuse element is never resolved."""
    means = np.empty_like(filtered_means)
    covs = np.empty_like(filtered_covs)
    lag_one = np.zeros_like(filtered_covs)
    unresolved = smooth_rows(
        starts,
        transition.entries,
        transition.index,
        noise_cov.entries,
        noise_cov.index,
        predicted_means,
        filtered_means,
        filtered_covs,
        factors,
        columns,
        means,
        covs,
        lag_one,
    )
    raise_unresolved(unresolved, starts)
    return SmoothedRows(frozen(means), frozen(covs), frozen(lag_one))


def raise_unresolved(row: int, starts: IntArray) -> None:
    """Raise `NumericalError` if `row` (not -1) is one whose diffuse state no observation resolves."""
    if row < 0:
        return
    series = int(np.searchsorted(starts, row, side="right")) - 1
    where = "" if len(starts) == 2 else f" of series {series}"
    raise NumericalError(
        f"the diffuse initial state{where} is never resolved: the observations do not determine every diffuse "
        f"element (seen at row {row - int(starts[series])}); give those elements a finite initial_cov, or more data"
    )


def _table(array: Array, steps: IntArray) -> Table:
    if array.ndim == 2:
        return Table(frozen(array[None]), frozen(np.zeros(len(steps), dtype=np.int64)))
    return Table(array, frozen(np.minimum(steps, len(array) - 1)))
