"""The E-step of the linear-Gaussian model: sums of expected second moments, by group of equal noise."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from kalman_em.arrays import Array, BoolArray, IntArray, frozen
from kalman_em.inference.backward import HAS_LOST, RESOLVED, ROUNDED, UNRESOLVED
from kalman_em.inference.expectation_loop import expect_rows
from kalman_em.inference.filtering import FilteredRows, filter_all, space_back, transitions_of
from kalman_em.inference.kernel_arrays import (
    BackwardSpace,
    GuardSpace,
    ObservationEquation,
    Sums,
    guard_space,
    sum_space,
)
from kalman_em.inference.numerics import STANDARD, LostDigits
from kalman_em.inference.observation_sums import add_up, are_wide
from kalman_em.inference.rows import Rows, SystemRows
from kalman_em.inference.sizes import sized
from kalman_em.inference.smoothing import unresolved
from kalman_em.linalg import has_correlations


@dataclass(frozen=True, eq=False)
class RegressionMoments:
    """Expected second moments of a regression e = target - M z around its current coefficients M.

    One entry a group of rows with one noise covariance: residual E[e e'] (n, q, q), cross E[e z'] (n, q, r),
    regressor E[z z'] (n, r, r) and the number of rows (n,); z is (x, 1, u). A residual (n, q) holds diagonals alone.
    """

    residual: Array
    cross: Array
    regressor: Array
    count: Array


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
    for guard in (None, guard_space(laid.state_dim, filtered.reduced.h.shape[1])):
        space = space_back(laid, filtered)
        status, row, expectations = _sums(laid, rows, filtered, guard, space, diagonal)
        if status != ROUNDED:
            break
    if status == UNRESOLVED:
        raise unresolved(row, rows.starts)
    if watched and space.place[HAS_LOST] == 1:
        raise LostDigits("rounding has taken too many digits of a smoothed covariance")
    return expectations


def _sums(
    laid: SystemRows,
    rows: Rows,
    filtered: FilteredRows,
    guard: GuardSpace | None,
    space: BackwardSpace,
    diagonal: bool,
) -> tuple[int, int, Expectations]:
    d = laid.state_dim
    p = rows.values.shape[1]
    inputs = np.zeros((rows.n_rows, 0)) if rows.inputs is None else rows.inputs
    r = d + 1 + inputs.shape[1]
    transition = empty_sums(len(laid.noise_cov.entries), d, d, r)
    is_wide = are_wide(laid, rows)
    observation = empty_sums(len(laid.group_rows), 0 if is_wide else p, d, r)
    means = np.empty((rows.n_rows if is_wide else 0, d))
    initial_means = np.empty((rows.n_series, d))
    initial_covs = np.empty((rows.n_series, d, d))
    observed = frozen(rows.patterns[rows.pattern[laid.group_rows]])
    status, row = expect_rows(
        sized(d),
        rows.starts,
        rows.n_leading,
        rows.values,
        frozen(inputs),
        observed,
        transitions_of(laid),
        ObservationEquation(
            laid.observation.entries,
            laid.observation.index,
            laid.observation_offset.entries,
            laid.observation_offset.index,
        ),
        filtered.reduced.scalars(filtered.predicted_means),
        filtered.arrays(),
        guard,
        space,
        sum_space(d, p, inputs.shape[1]),
        transition,
        observation,
        initial_means,
        initial_covs,
        means,
    )
    first = assembled_sums(transition), frozen(initial_means), frozen(initial_covs)
    if is_wide and status == RESOLVED:
        diagonal = diagonal and not has_correlations(laid.observation_cov.entries)
        covs = mirrored(observation.cov)
        wide = add_up(laid, rows, means, covs, observation.n_rows, diagonal=diagonal)
        return status, row, assembled(*first, RegressionMoments(*wide), np.arange(len(wide.n_rows)), None)
    H = laid.observation.entries[laid.observation.index[laid.group_rows]]
    sums = assembled_sums(observation, np.where(observed[:, :, None], H, 0.0))
    return status, row, assembled(*first, sums, laid.observation_cov.index[laid.group_rows], observed)


def assembled(
    transition: RegressionMoments,
    initial_means: Array,
    initial_covs: Array,
    observation: RegressionMoments,
    entry: IntArray,
    observed: BoolArray | None,
    numerics: str = STANDARD,
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


def empty_sums(n: int, q: int, d: int, r: int) -> Sums:
    """Return sums of zeros: n groups of q equations, d states and r regressors."""
    return Sums(np.zeros((n, q, q)), np.zeros((n, q, r)), np.zeros((n, r, r)), np.zeros((n, d, d)), np.zeros(n))


def _with_spread(sums: Sums, H: Array) -> Sums:
    """Return the sums of the observations with what the spread of the states adds: H V H' and -H V.

    H (n, p, d) belongs to the groups, its missing rows 0, so that this waits until all V of a group are added up.
    """
    d = H.shape[2]
    pushed = H @ mirrored(sums.cov)
    sums.residual[:] += pushed @ np.swapaxes(H, 1, 2)
    sums.cross[:, :, :d] -= pushed
    return sums


def assembled_sums(sums: Sums, H: Array | None = None) -> RegressionMoments:
    """Return the moments, with the upper triangles filled in and E[z z'] = z z' + Cov[x] in the block of x.

    Those of observations, which have an `H` (n, p, d) a group, take what the spread of the states adds.
    """
    if H is not None:
        sums = _with_spread(sums, H)
    d = sums.cov.shape[1]
    regressor = mirrored(sums.regressor)
    regressor[:, :d, :d] += mirrored(sums.cov)
    return RegressionMoments(mirrored(sums.residual), sums.cross, regressor, sums.n_rows)


def mirrored(lower: Array) -> Array:
    """Return symmetric matrices from their lower triangles, in place."""
    rows, columns = _below(lower.shape[1])
    lower[:, columns, rows] = lower[:, rows, columns]
    return lower


@lru_cache(maxsize=64)
def _below(n: int) -> tuple[IntArray, IntArray]:
    rows, columns = np.tril_indices(n, -1)
    return rows, columns
