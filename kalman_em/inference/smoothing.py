"""The Rauch-Tung-Striebel smoother with lag-one covariances."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kalman_em.arrays import Array, IntArray, frozen
from kalman_em.errors import NumericalError
from kalman_em.inference.arguments import check_filtered, check_system
from kalman_em.inference.backward import ROUNDED, UNRESOLVED
from kalman_em.inference.filtering import FilteredRows, ReducedRows, reduce_rows, space_back, transitions_of
from kalman_em.inference.kernel_arrays import guard_space
from kalman_em.inference.loops import smooth_rows
from kalman_em.inference.rows import SystemRows, Table, lay, stack_rows
from kalman_em.inference.sizes import sized
from kalman_em.observations import Observations
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
        If the arguments are not of those types, or the dimensions of system and filtered states differ.
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
    check_system(system)
    check_filtered(system, filtered)
    n_steps, d = filtered.filtered_means.shape
    laid, reduced = _reduced_innovations(system, filtered)
    columns = np.zeros(n_steps, dtype=np.int64)
    columns[: filtered.n_diffuse_steps] = np.any(filtered.diffuse_factors != 0.0, axis=1).sum(axis=1)
    # Where the filter had converged its covariances are the same numbers row after row.
    P = filtered.filtered_covs
    is_new = np.concatenate([[True], np.any(P[1:] != P[:-1], axis=(1, 2))])
    is_new[1:] |= np.any(filtered.predicted_covs[1:] != filtered.predicted_covs[:-1], axis=(1, 2))
    rows = FilteredRows(
        reduced=reduced,
        predicted_means=filtered.predicted_means,
        predicted_covs=frozen(filtered.predicted_covs[is_new]),
        filtered_means=filtered.filtered_means,
        filtered_covs=frozen(P[is_new]),
        cov_index=frozen(np.cumsum(is_new) - 1),
        log_likelihoods=filtered.log_likelihoods,
        factors=filtered.diffuse_factors,
        columns=frozen(columns),
    )
    starts = frozen(np.array([0, n_steps], dtype=np.int64))
    result = smooth_all(laid, starts, rows, prior_means=frozen(np.zeros((n_steps, d))))
    return SmoothedStates(
        smoothed_means=result.smoothed_means,
        smoothed_covs=result.smoothed_covs,
        lag_one_covs=result.lag_one_covs[:-1],
    )


def smooth_all(
    laid: SystemRows, starts: IntArray, filtered: FilteredRows, *, prior_means: Array | None = None
) -> SmoothedRows:
    """Smooth every series; `NumericalError` where a diffuse element is never resolved.

    `prior_means` are the means that the reduced values were observed against: the predicted ones by default.
    """
    means = np.empty_like(filtered.filtered_means)
    n, d = means.shape
    covs = np.empty((n, d, d))
    lag_one = np.zeros((n, d, d))
    scalars = filtered.reduced.scalars(filtered.predicted_means if prior_means is None else prior_means)
    for guard in (None, guard_space(d, filtered.reduced.h.shape[1])):
        status, row = smooth_rows(
            sized(d),
            starts,
            transitions_of(laid),
            scalars,
            filtered.arrays(),
            guard,
            space_back(laid, filtered),
            means,
            covs,
            lag_one,
        )
        if status != ROUNDED:
            break
    if status == UNRESOLVED:
        raise unresolved(row, starts)
    return SmoothedRows(frozen(means), frozen(covs), frozen(lag_one))


def unresolved(row: int, starts: IntArray) -> NumericalError:
    """Return the error for a `row` whose diffuse state no observation resolves."""
    series = int(np.searchsorted(starts, row, side="right")) - 1
    where = "" if len(starts) == 2 else f" of series {series}"
    return NumericalError(
        f"the diffuse initial state{where} is never resolved: the observations do not determine every diffuse "
        f"element (seen at row {row - int(starts[series])}); give those elements a finite initial_cov, or more data"
    )


def _reduced_innovations(system: LinearGaussianSystem, filtered: FilteredStates) -> tuple[SystemRows, ReducedRows]:
    """Return the system laid over the innovations, which stand for the observations: both are NaN where missing."""
    innovations = filtered.innovations
    inputs = np.zeros((len(innovations), system.input_dim)) if system.input_dim else None
    laid = lay(system, stack_rows([Observations(innovations, times=filtered.times, inputs=inputs)]))
    n_steps, p = innovations.shape
    no_offset = Table(frozen(np.zeros((1, p))), frozen(np.zeros(n_steps, dtype=np.int64)))
    return laid, reduce_rows(laid, innovations, no_offset)
