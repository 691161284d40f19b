"""The E-step of the linear-Gaussian model: sums of expected second moments, by group of equal noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kalman_em.arrays import Array, BoolArray, IntArray, frozen
from kalman_em.inference.backward import ROUNDED, UNRESOLVED
from kalman_em.inference.expectation_loop import expect_rows
from kalman_em.inference.filtering import FilteredRows, filter_all, transitions_of
from kalman_em.inference.kernel_arrays import ObservationEquation, Sums
from kalman_em.inference.rows import Rows, SystemRows
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

    def arrays(self) -> Sums:
        """Return what the loop adds to."""
        return Sums(self.residual, self.cross, self.regressor, self.count)


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
    for is_guarded in (False, True):
        status, row, expectations = _sums(laid, rows, filtered, is_guarded)
        if status != ROUNDED:
            break
    if status == UNRESOLVED:
        raise unresolved(row, rows.starts)
    return expectations


def _sums(laid: SystemRows, rows: Rows, filtered: FilteredRows, is_guarded: bool) -> tuple[int, int, Expectations]:
    d = len(laid.initial_mean)
    p = rows.values.shape[1]
    inputs = np.zeros((rows.n_rows, 0)) if rows.inputs is None else rows.inputs
    q = d + 1 + inputs.shape[1]
    n_noise, n_groups = len(laid.noise_cov.entries), len(laid.group_rows)
    transition = _empty(n_noise, d, q)
    observation = _empty(n_groups, p, q)
    initial_means = np.empty((rows.n_series, d))
    initial_covs = np.empty((rows.n_series, d, d))
    observed = frozen(rows.patterns[rows.pattern[laid.group_rows]])
    status, row = expect_rows(
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
        is_guarded,
        transition.arrays(),
        observation.arrays(),
        initial_means,
        initial_covs,
    )
    expectations = Expectations(
        transition=transition,
        observation=observation,
        observation_cov_entry=frozen(laid.observation_cov.index[laid.group_rows]),
        observed=observed,
        initial_means=frozen(initial_means),
        initial_covs=frozen(initial_covs),
    )
    return status, row, expectations


def _empty(n: int, q: int, r: int) -> RegressionMoments:
    return RegressionMoments(np.zeros((n, q, q)), np.zeros((n, q, r)), np.zeros((n, r, r)), np.zeros(n))
