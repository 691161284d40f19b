"""The Kalman filter over the rows of all series: missing entries, inputs, singular noise, exact diffuse starts."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from kalman_em.arrays import Array, IntArray, ShortArray, Table, frozen
from kalman_em.errors import NumericalError
from kalman_em.inference.beginnings import begin_rows
from kalman_em.inference.blocks import WIDE
from kalman_em.inference.gains import factor_covs
from kalman_em.inference.kernel_arrays import (
    BackwardSpace,
    Begun,
    Filtered,
    Scalars,
    Transitions,
    backward_space,
    forward_space,
    roots_space,
)
from kalman_em.inference.loops import filter_rows
from kalman_em.inference.numerics import LostDigits
from kalman_em.inference.reduction import reduce_observations
from kalman_em.inference.rows import Rows, SystemRows
from kalman_em.inference.sizes import sized, wide
from kalman_em.inference.steps import LOSSLESS, NOISY
from kalman_em.linalg import has_correlations
from kalman_em.memory import empty_arrays

# Room for the covariances of a series over which they converge, at first; one that takes longer comes again.
ROOM = 512


@dataclass(frozen=True, eq=False)
class ReducedRows:
    """Rows as independent scalar observations: values (N, p); h (n_groups, p, d), variances and counts by group.

    `leftover` (N,) is the log density of what a row says beside them, which does not depend on the state; of no length
    where no row says more. h stays writable, as scratch space is: what reads both is then compiled once.
    """

    values: Array
    h: Array
    variances: Array
    counts: IntArray
    leftover: Array
    group_index: IntArray

    def scalars(self, prior_means: Array) -> Scalars:
        """Return what the loops read, with the means that the values are compared with."""
        return Scalars(self.values, self.h, self.variances, self.counts, self.group_index, prior_means)


def _none() -> IntArray:
    return frozen(np.zeros(0, dtype=np.int64))


@dataclass(frozen=True, eq=False)
class FilteredRows:
    """The filter's output over the rows of all series; `factors` holds A for the rows with diffuse `columns`.

    The covariances are tables of distinct ones, `cov_index` (N,) says which holds at each row. They stay writable, as
    scratch space is: what reads both is then compiled once. `lost` is 1 for a series in which an observation took so
    much variance away that rounding may count, where that was looked for.
    """

    reduced: ReducedRows

    predicted_means: Array
    predicted_covs: Array
    filtered_means: Array
    filtered_covs: Array
    cov_index: IntArray
    log_likelihoods: Array
    factors: Array
    columns: ShortArray
    lost: IntArray = field(default_factory=_none)

    @property
    def has_lost(self) -> bool:
        """Whether rounding may count in any of the series."""
        return bool(self.lost.any())

    def arrays(self) -> Filtered:
        """Return what the backward loops read."""
        return Filtered(
            self.predicted_means,
            self.predicted_covs,
            self.filtered_means,
            self.filtered_covs,
            self.cov_index,
            self.factors,
            self.columns,
        )

    def at_rows(self, covs: Array) -> Array:
        """Return a table of covariances laid out over the rows (N, d, d)."""
        return Table(covs, self.cov_index).at_rows()


def space_back(laid: SystemRows, n_series: int, filtered: FilteredRows) -> BackwardSpace:
    """Return scratch space for a pass back over `filtered`, the rows of so many series."""
    upper, pivots = factor_covs(laid.noise_cov.entries)
    n_factors = int(np.count_nonzero(filtered.columns))
    return backward_space(laid.state_dim, n_series, n_factors, upper, pivots, _lossless(laid, pivots))


def _lossless(laid: SystemRows, pivots: Array) -> float:
    """Return from which part of its spread the noise of an observation lets a covariance be a plain difference."""
    variances = np.diagonal(laid.noise_cov.entries, axis1=1, axis2=2)
    return LOSSLESS if np.all(pivots > NOISY * variances) else np.inf


def transitions_of(laid: SystemRows) -> Transitions:
    """Return the transition side of `laid` as the loops read it."""
    return Transitions(
        laid.transition.entries,
        laid.transition.index,
        laid.offset.entries,
        laid.offset.index,
        laid.noise_cov.entries,
        laid.noise_cov.index,
    )


def filter_all(laid: SystemRows, rows: Rows, *, freezes: bool = True) -> FilteredRows:
    """Filter every series of `rows`.

    With `freezes` the covariances are not computed again once they have converged.

    Raises
    ------
    NumericalError
        If an observation is impossible under the system, or the log-likelihood is not finite.
    """
    filtered = filter_unchecked(laid, rows, freezes=freezes)
    check_finite(filtered.log_likelihoods, filtered.filtered_means, rows)
    return filtered


def filter_unchecked(laid: SystemRows, rows: Rows, *, freezes: bool = True) -> FilteredRows:
    """Filter every series of `rows` as `filter_all` does, whatever comes out."""
    reduced = reduce_rows(laid, rows.values, laid.observation_offset)
    n, d = rows.n_rows, laid.state_dim
    room = _room(laid, rows, freezes)
    predicted, filtered, log_likelihoods, index = empty_arrays((n, d), (n, d), (n,), (n,))
    columns = np.zeros(n, dtype=np.int16)
    n_factors = min(n, 4 * d * rows.n_series) if laid.initial_columns else 0
    while True:
        covs = empty_arrays((room, d, d), (room, d, d))
        factors = np.zeros((n_factors, d, d))
        arrays = Filtered(predicted, covs[0], filtered, covs[1], index.view(np.int64), factors, columns)
        needed, n_covs, lost = _run(laid, rows.starts, reduced, arrays, log_likelihoods, freezes=freezes, keeps=True)
        if needed <= n_factors and n_covs <= room:
            break
        n_factors = max(needed, n_factors)
        room = n if n_covs > room else room
    return FilteredRows(
        reduced,
        frozen(predicted),
        covs[0][:n_covs],
        frozen(filtered),
        covs[1][:n_covs],
        frozen(index.view(np.int64)),
        frozen(log_likelihoods),
        frozen(factors[:needed]),
        frozen(columns),
        frozen(lost),
    )


def log_likelihood_of(laid: SystemRows, rows: Rows, *, watched: bool = False) -> float:
    """Return the log-likelihood of all series; nothing else of the filter is kept.

    With `watched` it is `LostDigits` where rounding may have taken too many of them.

    Raises
    ------
    NumericalError
        If an observation is impossible under the system, or the log-likelihood is not finite.
    """
    found, lost = log_likelihoods_of(laid, rows)
    if watched and lost.any():
        raise LostDigits("rounding has taken too many digits of a filtered covariance")
    total = float(found.sum())
    # The pass that keeps every row says where it went wrong.
    return total if np.isfinite(total) else float(filter_all(laid, rows).log_likelihoods.sum())


def log_likelihoods_of(laid: SystemRows, rows: Rows) -> tuple[Array, IntArray]:
    """Return the log-likelihood of each series (N,), whatever comes out, and 1 for one that lost too many digits."""
    reduced = reduce_rows(laid, rows.values, laid.observation_offset)
    d = laid.state_dim
    covs, log_likelihoods = np.empty((2, 2, d, d)), np.zeros(rows.n_series)
    means, index = np.empty((2, 1, d)), np.zeros(1, dtype=np.int64)
    arrays = Filtered(
        means[0], covs[0], means[1], covs[1], index, np.zeros((0, d, d)), np.zeros(rows.n_rows, dtype=np.int16)
    )
    *_, lost = _run(laid, rows.starts, reduced, arrays, log_likelihoods, freezes=True, keeps=False)
    return log_likelihoods, lost


def _run(
    laid: SystemRows,
    starts: IntArray,
    reduced: ReducedRows,
    arrays: Filtered,
    log_likelihoods: Array,
    *,
    freezes: bool,
    keeps: bool,
) -> tuple[int, int, IntArray]:
    d, n = laid.state_dim, len(starts) - 1
    transitions, scalars = transitions_of(laid), reduced.scalars(arrays.predicted_means)
    lossless = _lossless(laid, factor_covs(laid.noise_cov.entries)[1])
    space, size = forward_space(d, reduced.h.shape[1]), sized(d)
    is_shared = laid.initial_columns == 0 and laid.initial_mean.ndim == 1 and laid.initial_cov.ndim == 2
    n_moments = 1 if is_shared else n
    begun = Begun(
        starts[:-1].copy(),
        _repeated(laid.initial_mean, (n_moments, d)),
        _repeated(laid.initial_cov, (n_moments, d, d)),
        np.zeros(n, dtype=np.int64),
        np.zeros(n, dtype=np.int64),
    )
    stored, n_covs = 0, 0
    if laid.initial_columns:
        stored, n_covs = begin_rows(
            wide(d),
            starts,
            transitions,
            scalars,
            reduced.leftover,
            laid.initial_factor,
            laid.initial_columns,
            freezes,
            lossless,
            keeps,
            roots_space(d) if laid.initial_columns > 1 else None,
            arrays,
            log_likelihoods,
            space,
            begun,
        )
        if n_covs > len(arrays.predicted_covs) and keeps:
            return stored, n_covs, begun.lost
    n_covs = filter_rows(
        size,
        starts,
        begun,
        transitions,
        scalars,
        reduced.leftover,
        freezes,
        lossless,
        keeps,
        n_covs - 1,
        arrays,
        log_likelihoods,
        space,
    )
    return stored, n_covs, begun.lost


def _repeated(array: Array, shape: tuple[int, ...]) -> Array:
    result = np.empty(shape)
    result[...] = array
    return result


def _room(laid: SystemRows, rows: Rows, freezes: bool) -> int:
    """Return for how many covariances to make room: for every row's, unless most rows are likely to share one."""
    is_constant = len(laid.transition.entries) == len(laid.noise_cov.entries) == 1
    # A leading row and a few gaps are groups of their own, but long runs lie between them.
    if not freezes or not is_constant or len(laid.group_rows) > 2 * rows.n_series + 1:
        return rows.n_rows
    return min(rows.n_rows, ROOM * rows.n_series)


def reduce_rows(laid: SystemRows, values: Array, offset: Table) -> ReducedRows:
    """Turn the observed entries of `values` - `offset` into independent scalar observations."""
    if _are_scalars(laid, values, offset):
        first, H, R = laid.group_rows, laid.observation, laid.observation_cov
        variances = np.diagonal(R.entries, axis1=1, axis2=2)
        return ReducedRows(
            values=values,
            h=H.entries[H.index[first]],
            variances=frozen(variances[R.index[first]]),
            counts=frozen((~np.isnan(values[first])).sum(axis=1)),
            leftover=frozen(np.zeros(0)),
            group_index=laid.group_index,
        )
    reduced, h, variances, counts, leftover = reduce_observations(
        values,
        offset.entries,
        offset.index,
        laid.group_index,
        laid.group_rows,
        frozen(laid.observation.index[laid.group_rows]),
        frozen(laid.observation_cov.index[laid.group_rows]),
        laid.observation.entries,
        laid.observation_cov.entries,
    )
    return ReducedRows(
        values=frozen(reduced),
        h=h,
        variances=frozen(variances),
        counts=frozen(counts),
        leftover=frozen(leftover),
        group_index=laid.group_index,
    )


def _are_scalars(laid: SystemRows, values: Array, offset: Table) -> bool:
    """Whether the values are independent scalars as they come, none of them missing in a row that has others."""
    p = values.shape[1]
    if p > min(laid.state_dim, WIDE - 1) or offset.entries.any() or has_correlations(laid.observation_cov.entries):
        return False
    missing = np.isnan(values[laid.group_rows])
    return p == 1 or bool(np.all(missing == missing[:, :1]))


def check_finite(log_likelihoods: Array, filtered_means: Array, rows: Rows) -> None:
    """Raise `NumericalError` naming the first row whose log-likelihood or mean is not finite."""
    # What is not finite stays so to the end of its series.
    ends = filtered_means[rows.starts[1:] - 1]
    if np.isfinite(log_likelihoods.sum()) and np.isfinite(ends).all():
        return
    bad = ~np.isfinite(log_likelihoods) | ~np.isfinite(filtered_means).all(axis=1)
    if not bad.any():
        return
    row = int(np.argmax(bad))
    series = int(np.searchsorted(rows.starts, row, side="right")) - 1
    step = row - int(rows.starts[series])
    where = f"row {step}" if rows.n_series == 1 else f"row {step} of series {series}"
    if log_likelihoods[row] == -np.inf:
        raise NumericalError(
            f"the observation at {where} is impossible: the system knows its value without error and another came; "
            "give observation_cov or transition_cov some noise there"
        )
    raise NumericalError(f"the filter left the finite numbers at {where}; is the transition explosive?")
