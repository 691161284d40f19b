"""The public filter and smoother over one series, and the choice between covariances and their factors."""

from __future__ import annotations

import numpy as np

from kalman_em.arrays import Array, Differences, IntArray, Table, frozen
from kalman_em.errors import InputError, NumericalError
from kalman_em.inference.arguments import check_filtered, check_observations, check_system
from kalman_em.inference.filtering import FilteredRows, ReducedRows, filter_all, log_likelihood_of, reduce_rows
from kalman_em.inference.kernel_arrays import guard_space
from kalman_em.inference.numerics import AUTO, SQUARE_ROOT, STANDARD, LostDigits, check_numerics
from kalman_em.inference.rows import Rows, SystemRows, lay, stack_rows
from kalman_em.inference.smoothing import SmoothedRows, smooth_all, smooth_once
from kalman_em.inference.square_root import FactoredRows, filter_factors, smooth_factors
from kalman_em.observations import Observations
from kalman_em.posteriors import FilteredStates, SmoothedStates
from kalman_em.systems import LinearGaussianSystem

# What stands for the observations where they are not read.
NOTHING = ReducedRows(
    values=frozen(np.zeros((0, 1))),
    h=np.zeros((0, 1, 1)),
    variances=frozen(np.zeros((0, 1))),
    counts=frozen(np.zeros(0, dtype=np.int64)),
    leftover=frozen(np.zeros(0)),
    group_index=frozen(np.zeros(0, dtype=np.int64)),
)


def kalman_filter(system: LinearGaussianSystem, observations: Observations, *, numerics: str = AUTO) -> FilteredStates:
    """Run the Kalman filter.

    Each row is turned into independent scalar observations (R = L D L') and these are taken one by one, so that
    a partly missing row uses what it has, no innovation covariance is inverted, and a diffuse start is exact.

    Parameters
    ----------
    system : LinearGaussianSystem
        d states, p observations.
    observations : Observations
        T rows of p values; NaN is missing. Carries the inputs, if the system has any.
    numerics : {"auto", "standard", "square_root"}
        "standard" carries covariances, "square_root" their triangular factors, at several times the cost. "auto" is
        "standard", and "square_root" where that fails by rounding: a variance below 0, one fallen by more than 1e8 in a
        step, a spread below 1e-8 of the variances that cancel in it, an observation with less noise than 1e-10 of its
        spread or one that seems impossible, or a diffuse direction seen so weakly that it may be rounding.

    Returns
    -------
    FilteredStates
        Predicted and filtered moments, innovations, and the log-likelihood; `numerics` says which path gave them.

    Raises
    ------
    InputError
        If the arguments are not of those types (an array is wrapped in `Observations`), the numbers of columns,
        inputs or, for a system that varies in time, rows do not fit together, or `numerics` is another word.
    NumericalError
        If an observation contradicts what the system knows without error.

    References
    ----------
    Durbin and Koopman, Time Series Analysis by State Space Methods, 2nd ed. 2012, sections 4.3, 5.2 and 6.4; for
    "square_root" Bierman, Factorization Methods for Discrete Sequential Estimation, 1977, chapter V, and Kailath,
    Sayed and Hassibi, Linear Estimation, 2000, chapter 12.

    Examples
    --------
    >>> from kalman_em import LinearGaussianSystem, Observations, kalman_filter
    >>> walk = LinearGaussianSystem(
    ...     transition_matrix=[[1.0]], transition_cov=[[1.0]], observation_matrix=[[1.0]],
    ...     observation_cov=[[2.0]], initial_mean=[0.0], initial_cov=[[2.0]])
    >>> filtered = kalman_filter(walk, Observations([[1.0], [float("nan")], [3.0]]))
    >>> filtered.filtered_means.round(3).tolist()
    [[0.5], [0.5], [2.0]]
    >>> round(filtered.log_likelihood, 4), filtered.numerics
    (-4.0857, 'standard')
    """
    check_system(system)
    check_observations(system, observations)
    check_numerics(numerics)
    rows = stack_rows([observations])
    laid = lay(system, rows)
    found = filter_by(laid, rows, numerics)
    result = found.as_covariances() if isinstance(found, FactoredRows) else found
    innovations, innovation_covs = _innovations(laid, rows, result)
    return FilteredStates(
        predicted_means=result.predicted_means,
        predicted_covs=Table(result.predicted_covs, result.cov_index),  # type: ignore[arg-type]  # laid out when asked for
        filtered_means=result.filtered_means,
        filtered_covs=Table(result.filtered_covs, result.cov_index),  # type: ignore[arg-type]
        log_likelihoods=result.log_likelihoods,
        innovations=innovations,  # type: ignore[arg-type]
        innovation_covs=innovation_covs,  # type: ignore[arg-type]
        diffuse_factors=result.factors,
        times=rows.times,
        numerics=SQUARE_ROOT if isinstance(found, FactoredRows) else STANDARD,
        observations=observations,
    )


def filter_by(laid: SystemRows, rows: Rows, numerics: str) -> FilteredRows | FactoredRows:
    """Filter every series of `rows` in the arithmetic that `numerics` says; "auto" takes factors where it must.

    Raises
    ------
    NumericalError
        If an observation is impossible under the system, or the log-likelihood is not finite.
    """
    if numerics == SQUARE_ROOT:
        return filter_factors(laid, rows)
    try:
        found = filter_all(laid, rows)
    except NumericalError:
        if numerics == STANDARD:
            raise
        return filter_factors(laid, rows)
    if numerics == AUTO and found.has_lost:
        return filter_factors(laid, rows)
    return found


def log_likelihood_by(laid: SystemRows, rows: Rows, numerics: str) -> float:
    """Return the log-likelihood of all series, keeping nothing else; "auto" takes factors where it must.

    Raises
    ------
    NumericalError
        If an observation is impossible under the system, or the log-likelihood is not finite.
    """
    if numerics != SQUARE_ROOT:
        try:
            return log_likelihood_of(laid, rows, watched=numerics == AUTO)
        except NumericalError:
            if numerics == STANDARD:
                raise
    return filter_factors(laid, rows).log_likelihood


def smooth_by(laid: SystemRows, rows: Rows, numerics: str = AUTO) -> SmoothedRows:
    """Filter and smooth every series of `rows`; "auto" takes factors where it must.

    Raises
    ------
    NumericalError
        If the filter fails, or a diffuse start is never resolved.
    """
    found = filter_by(laid, rows, numerics)
    if isinstance(found, FilteredRows):
        try:
            return smooth_all(laid, rows.starts, found, watched=numerics == AUTO)
        except LostDigits:
            found = filter_factors(laid, rows)
    return smooth_factors(laid, rows.starts, found)


def _innovations(laid: SystemRows, rows: Rows, result: FilteredRows) -> tuple[Array | Differences, Table]:
    # The prediction of row t is diffuse while the state was diffuse after row t-1; such rows share no covariance.
    unknown = np.concatenate([[True], result.columns[:-1] > 0]) if laid.initial_columns > 0 else None
    if len(laid.observation.entries) == len(laid.observation_cov.entries) == 1:
        # One H and R: as many distinct covariances as the filter has.
        H, R = laid.observation.entries[0], laid.observation_cov.entries[0]
        found = Differences(rows.values, result.predicted_means, H, laid.observation_offset, unknown)
        covs, index = _predicted(H, R, result.predicted_covs), result.cov_index
        if unknown is not None:
            covs[index[unknown]] = np.nan
        return found, Table(covs, index)
    H = laid.observation.entries[laid.observation.index]
    R = laid.observation_cov.entries[laid.observation_cov.index]
    offset = laid.observation_offset.entries[laid.observation_offset.index]
    innovations = rows.values - np.einsum("tij,tj->ti", H, result.predicted_means) - offset
    covs = _predicted(H, R, result.at_rows(result.predicted_covs))
    if unknown is not None:
        innovations[unknown] = np.nan
        covs[unknown] = np.nan
    return frozen(innovations), Table(covs, frozen(np.arange(rows.n_rows)))


def _predicted(H: Array, R: Array, covs: Array) -> Array:
    """Return H P H' + R for each P, exactly symmetric."""
    product = H @ covs @ np.swapaxes(H, -1, -2)
    result: Array = 0.5 * (product + np.swapaxes(product, 1, 2)) + R
    return result


def rts_smoother(system: LinearGaussianSystem, filtered: FilteredStates, *, numerics: str = AUTO) -> SmoothedStates:
    """Run the smoother back over a filtered series.

    The state at t given the state at t+1 and y[0..t] is again a filter update, with x[t+1] in the place of the
    observation; it needs no inverse of a covariance, and holds for singular Q and for diffuse starts.

    Parameters
    ----------
    system : LinearGaussianSystem
        The system that was filtered.
    filtered : FilteredStates
        The result of `kalman_filter` for that system.
    numerics : {"auto", "standard", "square_root"}
        As for `kalman_filter`. "auto" takes "square_root" where the filter did, where a variance falls by more than
        1e10 or rounding grows by as much; the filter is then run once more with factors.

    Returns
    -------
    SmoothedStates
        Smoothed means (T, d) and covariances (T, d, d), and lag-one covariances (T-1, d, d), entry t being
        Cov[x[t+1], x[t] given all y]; `numerics` says which path gave them.

    Raises
    ------
    InputError
        If the arguments are not of those types, the dimensions of system and filtered states differ, or `numerics` is
        another word, or "square_root" for states that do not know their observations.
    NumericalError
        If the observations never resolve a diffuse element of the initial state.

    References
    ----------
    Rauch, Tung and Striebel, Maximum likelihood estimates of linear dynamic systems, AIAA Journal 3 (1965),
    equations (3.29)-(3.31); Shumway and Stoffer, Time Series Analysis and Its Applications, 4th ed. 2017,
    properties 6.2 and 6.3; for "square_root" Kailath, Sayed and Hassibi, Linear Estimation, 2000, chapters 10 and 12.

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
    check_numerics(numerics)
    if numerics == SQUARE_ROOT and filtered.observations is None:
        raise InputError(
            "filtered: expected states that know their observations, as kalman_filter returns them, for "
            "numerics='square_root'; got none"
        )
    can_refilter = numerics != STANDARD and filtered.observations is not None
    if numerics == SQUARE_ROOT or (can_refilter and filtered.numerics == SQUARE_ROOT):
        return _smoothed_by_factors(system, filtered)
    try:
        return _smoothed(system, filtered, watched=can_refilter)
    except LostDigits:
        return _smoothed_by_factors(system, filtered)


def _smoothed(system: LinearGaussianSystem, filtered: FilteredStates, *, watched: bool) -> SmoothedStates:
    n_steps, d = filtered.filtered_means.shape
    columns = np.zeros(n_steps, dtype=np.int16)
    columns[: filtered.n_diffuse_steps] = np.any(filtered.diffuse_factors != 0.0, axis=1).sum(axis=1)
    predicted, after = _tables(filtered)
    starts = frozen(np.array([0, n_steps], dtype=np.int64))
    laid = lay(system, _unseen(system, filtered, starts))
    rows = FilteredRows(
        reduced=NOTHING,
        predicted_means=filtered.predicted_means,
        predicted_covs=predicted.entries,
        filtered_means=filtered.filtered_means,
        filtered_covs=after.entries,
        cov_index=after.index,
        log_likelihoods=filtered.log_likelihoods,
        factors=filtered.diffuse_factors,
        columns=frozen(columns),
    )
    result = smooth_once(laid, starts, rows, NOTHING.scalars(frozen(np.zeros((0, d)))), None, watched=watched)
    if result is None:
        # The dual form reads the observations too.
        laid, reduced = _reduced_innovations(system, filtered)
        scalars = reduced.scalars(frozen(np.zeros((n_steps, d))))
        result = smooth_once(laid, starts, rows, scalars, guard_space(d, reduced.h.shape[1]), watched=watched)
    assert result is not None  # the dual form always comes through
    return _states_of(result, STANDARD)


def _states_of(result: SmoothedRows, numerics: str) -> SmoothedStates:
    """Return the smoothed states of the one series of `result`, their tables laid out when asked for."""
    lag = result.lag_one_covs
    last = len(lag.index) - 1 if len(lag.entries) == len(lag.index) else len(lag.entries)
    return SmoothedStates(
        smoothed_means=result.smoothed_means,
        smoothed_covs=result.smoothed_covs,  # type: ignore[arg-type]  # laid out when asked for
        lag_one_covs=Table(lag.entries[:last], lag.index[:-1]),  # type: ignore[arg-type]
        numerics=numerics,
    )


def _tables(filtered: FilteredStates) -> tuple[Table, Table]:
    """Return the predicted and filtered covariances as tables with one index."""
    predicted, after = filtered.table("predicted_covs"), filtered.table("filtered_covs")
    if predicted is not None and after is not None and predicted.index is after.index:
        return predicted, after
    # Where the filter had converged its covariances are the same numbers row after row.
    P = filtered.filtered_covs
    is_new = np.concatenate([[True], np.any(P[1:] != P[:-1], axis=(1, 2))])
    is_new[1:] |= np.any(filtered.predicted_covs[1:] != filtered.predicted_covs[:-1], axis=(1, 2))
    index = frozen(np.cumsum(is_new) - 1)
    return Table(filtered.predicted_covs[is_new], index), Table(P[is_new], index)


def _unseen(system: LinearGaussianSystem, filtered: FilteredStates, starts: IntArray) -> Rows:
    """Return the rows of `filtered` as far as the transitions of `system` need them: times and inputs, no values."""
    n_steps, p = len(filtered.filtered_means), system.obs_dim
    return Rows(
        values=np.broadcast_to(np.nan, (n_steps, p)),
        starts=starts,
        inputs=frozen(np.zeros((n_steps, system.input_dim))) if system.input_dim else None,
        pattern=frozen(np.zeros(n_steps, dtype=np.int64)),
        patterns=frozen(np.zeros((1, p), dtype=bool)),
        times=filtered.times,
    )


def _smoothed_by_factors(system: LinearGaussianSystem, filtered: FilteredStates) -> SmoothedStates:
    assert filtered.observations is not None  # the caller has looked
    rows = stack_rows([filtered.observations])
    laid = lay(system, rows)
    return _states_of(smooth_factors(laid, rows.starts, filter_factors(laid, rows)), SQUARE_ROOT)


def _reduced_innovations(system: LinearGaussianSystem, filtered: FilteredStates) -> tuple[SystemRows, ReducedRows]:
    """Return the system laid over the innovations, which stand for the observations: both are NaN where missing."""
    innovations = filtered.innovations
    inputs = np.zeros((len(innovations), system.input_dim)) if system.input_dim else None
    laid = lay(system, stack_rows([Observations(innovations, times=filtered.times, inputs=inputs)]))
    n_steps, p = innovations.shape
    no_offset = Table(frozen(np.zeros((1, p))), frozen(np.zeros(n_steps, dtype=np.int64)))
    return laid, reduce_rows(laid, innovations, no_offset)
