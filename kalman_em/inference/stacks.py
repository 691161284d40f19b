"""Many series, each with a system of its own, in one pass of the loops: the E-step of many EMs at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import pairwise

import numpy as np

from kalman_em.arrays import Array, BoolArray, IntArray, Table, frozen
from kalman_em.inference.backward import RESOLVED
from kalman_em.inference.filtering import (
    FilteredRows,
    filter_unchecked,
    log_likelihoods_of,
    space_back,
    transitions_of,
)
from kalman_em.inference.gains import FACTORS_LEFT, HAS_LOST
from kalman_em.inference.kernel_arrays import nothing_smoothed, spreads_space
from kalman_em.inference.regression_sums import (
    RegressionMoments,
    are_variances,
    mirrored,
    observation_moments,
    transition_moments,
)
from kalman_em.inference.rows import Rows, SystemRows, by_group, numbered
from kalman_em.inference.smoothing_loop import smooth_rows
from kalman_em.linalg import symmetrised
from kalman_em.memory import empty_arrays
from kalman_em.systems import LinearGaussianSystem

# Numbers of the covariances at all rows of such series: beyond it they would leave the cache between forth and back.
AT_HAND = 1 << 20


def parts_at_hand(sizes: Sequence[int]) -> Iterator[slice]:
    """Yield runs of series whose `sizes`, numbers of their covariances, add up to no more than lies in the cache.

    Where a run ends depends on who is in it, what comes out for a series does not.

    Examples
    --------
    >>> half = AT_HAND // 2
    >>> list(parts_at_hand([half, half, 1, 4 * half, 1]))
    [slice(0, 2, None), slice(2, 3, None), slice(3, 4, None), slice(4, 5, None)]
    """
    first, size = 0, 0
    for position, own in enumerate(sizes):
        if position > first and size + own > AT_HAND:
            yield slice(first, position)
            first, size = position, 0
        size += own
    if len(sizes):
        yield slice(first, len(sizes))


@dataclass(frozen=True, eq=False)
class SystemStack:
    """N constant systems of equal shapes without inputs: the parameters with a leading axis.

    `noise_selection` and which initial elements are diffuse are those of all, as in `like`, one of them.
    """

    transition_matrix: Array
    transition_offset: Array
    transition_cov: Array
    observation_matrix: Array
    observation_offset: Array
    observation_cov: Array
    initial_mean: Array
    initial_cov: Array
    like: LinearGaussianSystem

    def __len__(self) -> int:
        return len(self.transition_matrix)

    def __getitem__(self, position: int) -> LinearGaussianSystem:
        return self.like.replaced(**{name: np.array(getattr(self, name)[position]) for name in PARAMETERS})

    @property
    def noise_cov(self) -> Array:
        """G Q G' of each (N, d, d)."""
        G = self.like.noise_selection
        return self.transition_cov if G is None else symmetrised(G @ self.transition_cov @ G.T)

    def at(self, chosen: IntArray | BoolArray) -> SystemStack:
        """Return the systems at some positions."""
        return SystemStack(**{name: getattr(self, name)[chosen] for name in PARAMETERS}, like=self.like)

    def replaced(self, **values: Array) -> SystemStack:
        """Return a copy with other values."""
        return SystemStack(**({name: getattr(self, name) for name in PARAMETERS} | values), like=self.like)


PARAMETERS = tuple(entry.name for entry in fields(SystemStack) if entry.name != "like")


def stacked(systems: Sequence[LinearGaussianSystem]) -> SystemStack:
    """Return systems of one specification as a stack."""
    return SystemStack(
        **{name: np.stack([getattr(one, name) for one in systems]) for name in PARAMETERS}, like=systems[0]
    )


def joined(stacks: Sequence[SystemStack]) -> SystemStack:
    """Return the systems of several stacks of one specification as one."""
    parts = {name: np.concatenate([getattr(one, name) for one in stacks]) for name in PARAMETERS}
    return SystemStack(**parts, like=stacks[0].like)


@dataclass(frozen=True, eq=False)
class StackedRows:
    """The rows of N series for N systems: what stays the same from one E-step to the next.

    Rows of one series that share their missing pattern form a group: `group_series` and `group_pattern` (n_groups,).
    """

    rows: Rows
    series_index: IntArray
    group_index: IntArray
    group_rows: IntArray

    @classmethod
    def of(cls, rows: Rows) -> StackedRows:
        """Return `rows` with their groups numbered."""
        series_index = np.repeat(np.arange(rows.n_series), np.diff(rows.starts))
        group_index, group_rows = numbered(rows.pattern * rows.n_series + series_index)
        return cls(rows, frozen(series_index), group_index, group_rows)

    @cached_property
    def order(self) -> tuple[IntArray, IntArray]:
        """The rows of the data by group, and where each group begins."""
        return by_group(self.rows.data_rows, self.group_index, len(self.group_rows))

    @cached_property
    def moves(self) -> tuple[IntArray, IntArray]:
        """The rows that another of their series follows, by series, and where each series begins."""
        return by_group(self.rows.moving_rows, self.series_index, self.rows.n_series)

    @property
    def group_series(self) -> IntArray:
        """The series of each group."""
        return self.series_index[self.group_rows]

    @property
    def group_pattern(self) -> IntArray:
        """The missing pattern of each group."""
        return self.rows.pattern[self.group_rows]

    def at(self, chosen: BoolArray) -> StackedRows:
        """Return the rows of some of the series."""
        lengths = np.diff(self.rows.starts)[chosen]
        kept = chosen[self.series_index]
        rows = Rows(
            values=frozen(self.rows.values[kept]),
            starts=frozen(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)),
            inputs=None,
            pattern=frozen(self.rows.pattern[kept]),
            patterns=self.rows.patterns,
            n_leading=self.rows.n_leading,
        )
        return StackedRows.of(rows)


def lay_stack(stack: SystemStack, over: StackedRows) -> SystemRows:
    """Lay every system over the rows of its series: tables of one entry a series."""

    def table(entries: Array) -> Table:
        return Table(frozen(entries), over.series_index)

    d = stack.transition_matrix.shape[1]
    diffuse = np.flatnonzero(np.asarray(stack.like.initial_diffuse))
    factor = np.zeros((d, d))
    factor[diffuse, np.arange(len(diffuse))] = 1.0
    return SystemRows(
        transition=table(stack.transition_matrix),
        offset=table(stack.transition_offset),
        noise_cov=table(stack.noise_cov),
        observation=table(stack.observation_matrix),
        observation_offset=table(stack.observation_offset),
        observation_cov=table(stack.observation_cov),
        group_index=over.group_index,
        group_rows=over.group_rows,
        initial_mean=frozen(stack.initial_mean),
        initial_cov=frozen(stack.initial_cov),
        initial_factor=frozen(factor),
        initial_columns=len(diffuse),
    )


@dataclass(frozen=True, eq=False)
class StackExpectations:
    """Expectations of N series: the transitions' moments by series, the observations' by group, the first states.

    `troubled` (N,) marks the series whose filter or smoother failed, or that need the guarded form or, if that is
    watched, factors of covariances: their sums are void.
    """

    transition: RegressionMoments
    observation: RegressionMoments
    group_series: IntArray
    group_pattern: IntArray
    patterns: BoolArray
    initial_means: Array
    initial_covs: Array
    log_likelihoods: Array
    troubled: BoolArray


def expect_stack(stack: SystemStack, over: StackedRows, *, watched: bool = False) -> StackExpectations:
    """Return what `expect_all` gives for each series with its own system; no failure of one touches the others.

    With `watched` a series in which rounding takes too many digits counts as failed.
    """
    rows, laid = over.rows, lay_stack(stack, over)
    with np.errstate(all="ignore"):
        filtered = filter_unchecked(laid, rows)
    n, d = rows.n_series, laid.state_dim
    log_likelihoods = _by_series(filtered.log_likelihoods, rows.starts)
    troubled = _failed(filtered, log_likelihoods, rows.starts)
    spreads = spreads_space(d, n, len(laid.group_rows))
    (means,), covs = empty_arrays((rows.n_rows, d)), np.zeros((n, d, d))
    space = space_back(laid, n, filtered)
    n_series = n
    while n_series > 0:
        status, row, _ = smooth_rows(
            rows.starts[: n_series + 1],
            rows.n_leading,
            transitions_of(laid),
            filtered.reduced.scalars(filtered.predicted_means),
            filtered.arrays(),
            None,
            False,
            space,
            spreads,
            means,
            covs,
            nothing_smoothed(d),
        )
        if status == RESOLVED:
            break
        # The loop goes from the last series to the first: it stopped at this one, and goes on before it.
        n_series = int(over.series_index[row])
        troubled[n_series] = True
        means[rows.of(n_series)] = 0.0
        space.place[FACTORS_LEFT] = np.count_nonzero(filtered.columns[: rows.starts[n_series]])
        space.place[HAS_LOST] = 0
    seen, inputs = frozen(rows.patterns[over.group_pattern]), np.zeros((rows.n_rows, 0))
    transition = transition_moments(laid, rows, means, inputs, spreads, moves=over.moves)
    if watched:
        troubled |= (filtered.lost == 1) | (space.lost == 1) | ~are_variances(transition)
    return StackExpectations(
        transition=transition,
        observation=observation_moments(laid, rows, means, inputs, mirrored(spreads.observed_covs), seen, over.order),
        group_series=over.group_series,
        group_pattern=over.group_pattern,
        patterns=rows.patterns,
        initial_means=means[rows.starts[:-1]],
        initial_covs=covs,
        log_likelihoods=log_likelihoods,
        troubled=troubled,
    )


def likelihoods_each(stack: SystemStack, over: StackedRows) -> Array:
    """Return the log-likelihood of each series (N,) with its own system, nothing else kept.

    -inf where it cannot be computed, NaN where rounding has taken too many of its digits.
    """
    with np.errstate(all="ignore"):
        found, lost = log_likelihoods_of(lay_stack(stack, over), over.rows)
    result: Array = np.where(lost == 1, np.nan, np.where(np.isfinite(found), found, -np.inf))
    return result


def _failed(filtered: FilteredRows, log_likelihoods: Array, starts: IntArray) -> BoolArray:
    """Return which series have a row that is impossible or not finite: what is not finite stays so to the end."""
    ends = filtered.filtered_means[starts[1:] - 1]
    return ~(np.isfinite(log_likelihoods) & np.isfinite(ends).all(axis=1))


def _by_series(by_row: Array, starts: IntArray) -> Array:
    """Return the sums over the rows of each series, added up as those of one series alone are."""
    lengths = np.diff(starts)
    if np.all(lengths == lengths[0]):
        result: Array = by_row.reshape(len(lengths), -1).sum(axis=1)
        return result
    return np.array([by_row[first:last].sum() for first, last in pairwise(starts)])
