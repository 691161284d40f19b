"""The E-step of the linear-Gaussian model: sums of expected second moments, by group of equal noise."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from kalman_em.arrays import Array, BoolArray, IntArray, frozen
from kalman_em.inference.backward import ROUNDED, UNRESOLVED
from kalman_em.inference.expectation_loop import expect_rows
from kalman_em.inference.filtering import FilteredRows, filter_all, space_back, transitions_of
from kalman_em.inference.kernel_arrays import GuardSpace, ObservationEquation, Sums, guard_space, sum_space
from kalman_em.inference.rows import Rows, SystemRows
from kalman_em.inference.sizes import sized
from kalman_em.inference.smoothing import unresolved


@dataclass(frozen=True, eq=False)
class RegressionMoments:
    """Expected second moments of a regression e = target - M z around its current coefficients M.

    One entry a group of rows with one noise covariance: residual E[e e'] (n, q, q), cross E[e z'] (n, q, r),
    regressor E[z z'] (n, r, r) and the number of rows (n,); z is (x, 1, u).
    """

    residual: Array
    cross: Array
    regressor: Array
    count: Array


@dataclass(frozen=True, eq=False)
class Expectations:
    """What the M-step needs of the states: sums over the transitions, over the observations, and the first states.

    `transition_covs` and `observation_covs` say which entry of the Q and R tables each group holds; for the
    observations only the entries `observed` are in the sums.
    """

    transition: RegressionMoments
    observation: RegressionMoments
    observation_cov_entry: IntArray
    observed: BoolArray
    initial_means: Array
    initial_covs: Array


def expect_all(laid: SystemRows, rows: Rows) -> tuple[Expectations, float]:
    """Return the expectations given all observations, and the log-likelihood.

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
    return _expect(laid, rows, filtered), float(filtered.log_likelihoods.sum())


def _expect(laid: SystemRows, rows: Rows, filtered: FilteredRows) -> Expectations:
    for guard in (None, guard_space(len(laid.initial_mean), filtered.reduced.h.shape[1])):
        status, row, expectations = _sums(laid, rows, filtered, guard)
        if status != ROUNDED:
            break
    if status == UNRESOLVED:
        raise unresolved(row, rows.starts)
    return expectations


def _sums(
    laid: SystemRows, rows: Rows, filtered: FilteredRows, guard: GuardSpace | None
) -> tuple[int, int, Expectations]:
    d = len(laid.initial_mean)
    p = rows.values.shape[1]
    inputs = np.zeros((rows.n_rows, 0)) if rows.inputs is None else rows.inputs
    r = d + 1 + inputs.shape[1]
    transition = _empty(len(laid.noise_cov.entries), d, d, r)
    observation = _empty(len(laid.group_rows), p, d, r)
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
        space_back(laid, filtered),
        sum_space(d, p, inputs.shape[1]),
        transition,
        observation,
        initial_means,
        initial_covs,
    )
    H = laid.observation.entries[laid.observation.index[laid.group_rows]]
    expectations = Expectations(
        transition=_completed(transition),
        observation=_completed(_with_spread(observation, np.where(observed[:, :, None], H, 0.0))),
        observation_cov_entry=frozen(laid.observation_cov.index[laid.group_rows]),
        observed=observed,
        initial_means=frozen(initial_means),
        initial_covs=frozen(initial_covs),
    )
    return status, row, expectations


def _empty(n: int, q: int, d: int, r: int) -> Sums:
    return Sums(np.zeros((n, q, q)), np.zeros((n, q, r)), np.zeros((n, r, r)), np.zeros((n, d, d)), np.zeros(n))


def _with_spread(sums: Sums, H: Array) -> Sums:
    """Return the sums of the observations with what the spread of the states adds: H V H' and -H V.

    H (n, p, d) belongs to the groups, its missing rows 0, so that this waits until all V of a group are added up.
    """
    d = H.shape[2]
    pushed = H @ _mirrored(sums.cov)
    sums.residual[:] += pushed @ np.swapaxes(H, 1, 2)
    sums.cross[:, :, :d] -= pushed
    return sums


def _completed(sums: Sums) -> RegressionMoments:
    """Return the moments, with the upper triangles filled in and E[z z'] = z z' + Cov[x] in the block of x."""
    d = sums.cov.shape[1]
    regressor = _mirrored(sums.regressor)
    regressor[:, :d, :d] += _mirrored(sums.cov)
    return RegressionMoments(_mirrored(sums.residual), sums.cross, regressor, sums.n_rows)


def _mirrored(lower: Array) -> Array:
    """Return symmetric matrices from their lower triangles, in place."""
    rows, columns = _below(lower.shape[1])
    lower[:, columns, rows] = lower[:, rows, columns]
    return lower


@lru_cache(maxsize=64)
def _below(n: int) -> tuple[IntArray, IntArray]:
    rows, columns = np.tril_indices(n, -1)
    return rows, columns
