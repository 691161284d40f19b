"""The E-step of the linear-Gaussian model: sums of expected second moments, by group of equal noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kalman_em.arrays import Array, BoolArray, IntArray, frozen
from kalman_em.inference.backward import ROUNDED, UNRESOLVED
from kalman_em.inference.filtering import FilteredRows, filter_all, space_back, transitions_of
from kalman_em.inference.kernel_arrays import Spreads, guard_space, nothing_smoothed, spreads_space
from kalman_em.inference.numerics import STANDARD, LostDigits
from kalman_em.inference.observation_sums import add_up, are_wide
from kalman_em.inference.regression_sums import RegressionMoments, mirrored, observation_moments, transition_moments
from kalman_em.inference.rows import Rows, SystemRows, by_group
from kalman_em.inference.smoothing import unresolved
from kalman_em.inference.smoothing_loop import smooth_rows
from kalman_em.linalg import has_correlations
from kalman_em.memory import empty_arrays


@dataclass(frozen=True, eq=False)
class Expectations:
    """What the M-step needs of the states: sums over the transitions, over the observations, and the first states.

    `observation_cov_entry` says which entry of the table of R each group of the observations holds; only the values
    `observed` are in their sums. `numerics` says in which arithmetic they were found.
    """

    transition: RegressionMoments
    observation: RegressionMoments
    observation_cov_entry: IntArray
    observed: BoolArray
    initial_means: Array
    initial_covs: Array
    numerics: str = STANDARD


def expect_all(laid: SystemRows, rows: Rows, *, diagonal: bool = False) -> tuple[Expectations, float]:
    """Return the expectations given all observations, and the log-likelihood.

    With `diagonal` the residuals of many observed columns may be given by their diagonals alone, if R is diagonal.

    Raises
    ------
    NumericalError
        If the filter fails, or a diffuse start is never resolved.

    References
    ----------
    Shumway and Stoffer, An approach to time series smoothing and forecasting using the EM algorithm, Journal of
    Time Series Analysis 3 (1982), equations (9)-(11), with residuals in the place of raw moments.
    """
    filtered = filter_all(laid, rows)
    return expect_filtered(laid, rows, filtered, diagonal=diagonal), float(filtered.log_likelihoods.sum())


def expect_filtered(
    laid: SystemRows, rows: Rows, filtered: FilteredRows, *, diagonal: bool = False, watched: bool = False
) -> Expectations:
    """Return the expectations given all observations from what the filter found.

    With `watched` it is a `LostDigits` where rounding has taken too many of them.
    """
    d = laid.state_dim
    (means,) = empty_arrays((rows.n_rows, d))
    covs = np.empty((rows.n_series, d, d))
    for guard in (None, guard_space(d, filtered.reduced.h.shape[1])):
        spreads = spreads_space(d, len(laid.noise_cov.entries), len(laid.group_rows))
        space = space_back(laid, rows.n_series, filtered)
        status, row, _ = smooth_rows(
            rows.starts,
            rows.n_leading,
            transitions_of(laid),
            filtered.reduced.scalars(filtered.predicted_means),
            filtered.arrays(),
            guard,
            False,
            space,
            spreads,
            means,
            covs,
            nothing_smoothed(d),
        )
        if status != ROUNDED:
            break
    if status == UNRESOLVED:
        raise unresolved(row, rows.starts)
    if watched and space.lost.any():
        raise LostDigits("rounding has taken too many digits of a smoothed covariance")
    return added_up(laid, rows, means, covs, spreads, (None, None), diagonal=diagonal, numerics=STANDARD)


def added_up(
    laid: SystemRows,
    rows: Rows,
    means: Array,
    initial_covs: Array,
    spreads: Spreads,
    own: tuple[Array | None, tuple[Array, Array] | None],
    *,
    diagonal: bool,
    numerics: str,
) -> Expectations:
    """Return the expectations from all smoothed means, and the sums of covariances of `spreads`.

    `own` holds what is known better than from means and covariances of states: the means (N, d) of the noises, and
    H V H' and -H V by group of the observations, V the sum of Cov[x]. Without them, and the latter where the
    observations are many, they are worked out here.
    """
    noise_means, seen_spreads = own
    inputs = np.zeros((rows.n_rows, 0)) if rows.inputs is None else rows.inputs
    transition = transition_moments(laid, rows, means, inputs, spreads, noise_means=noise_means)
    first = transition, frozen(means[rows.starts[:-1]]), frozen(initial_covs)
    observed_covs = mirrored(spreads.observed_covs)
    order = rows.pattern_order if laid.group_index is rows.pattern_groups[0] else _order(laid, rows)
    if are_wide(laid, rows):
        counts = np.diff(order[1]).astype(np.float64)
        diagonal = diagonal and not has_correlations(laid.observation_cov.entries)
        wide = add_up(laid, rows, means, observed_covs, counts, diagonal=diagonal)
        return _assembled(*first, RegressionMoments(*wide), np.arange(len(wide.n_rows)), None, numerics)
    seen = frozen(rows.patterns[rows.pattern[laid.group_rows]])
    observation = observation_moments(laid, rows, means, inputs, observed_covs, seen, order, seen_spreads)
    return _assembled(*first, observation, laid.observation_cov.index[laid.group_rows], seen, numerics)


def _order(laid: SystemRows, rows: Rows) -> tuple[IntArray, IntArray]:
    return by_group(rows.data_rows, laid.group_index, len(laid.group_rows))


def _assembled(
    transition: RegressionMoments,
    initial_means: Array,
    initial_covs: Array,
    observation: RegressionMoments,
    entry: IntArray,
    observed: BoolArray | None,
    numerics: str,
) -> Expectations:
    """Return the expectations; without `observed` all values are in the sums."""
    shape = observation.cross.shape[:2]
    return Expectations(
        transition=transition,
        observation=observation,
        observation_cov_entry=frozen(entry),
        observed=frozen(np.ones(shape, dtype=bool)) if observed is None else observed,
        initial_means=initial_means,
        initial_covs=initial_covs,
        numerics=numerics,
    )
