"""Starts of many series at once, each by itself: one pass of the filter over all of them for a point of the grid."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, product
from math import prod

import numpy as np

from kalman_em.arrays import Array, BoolArray, IntArray, Table, frozen
from kalman_em.em.forms import LowRank
from kalman_em.inference.filtering import FilteredRows, filter_unchecked
from kalman_em.inference.rows import Rows, SystemRows, stack_rows
from kalman_em.inference.stacks import SystemStack, parts_at_hand, stacked
from kalman_em.linalg import block_diagonal
from kalman_em.models.component import Component
from kalman_em.models.profile import ROUNDS, WHOLE_GRID, profiled_start, window_of
from kalman_em.models.scale import data_scale
from kalman_em.models.specification import Specification
from kalman_em.models.stacked_forms import has_simple_noises, most_likely_each
from kalman_em.observations import Observations, Panel


def can_start_together(specification: Specification, components: Sequence[Component]) -> bool:
    """Return whether `profiled_starts` knows the sum: known transitions, diffuse starts, noises of simple forms."""
    if specification.input_dim or specification.by_series or not specification.initial.diffuse.all():
        return False
    learnt = [name for name in specification.coefficients if specification.is_free(name)]
    noises = [noise.form for component in components for noise in component.noises]
    is_low = any(isinstance(form, LowRank) for form in noises)
    return not learnt and not is_low and has_simple_noises(specification)


def profiled_starts(
    specification: Specification, series: Sequence[Observations], components: Sequence[Component]
) -> SystemStack:
    """Return the start that `profiled_start` finds for each series by itself.

    A series in which the filter loses too many digits has its grid searched alone, with factors of covariances.
    """
    n, p = len(series), specification.obs_dim
    scales = np.array([data_scale(Panel((one,))) for one in series])
    R, Q, lost = np.empty((n, p)), [], np.zeros(n, dtype=bool)
    for column in range(p):
        ratios, R[:, column] = _best([one.values[:, column] for one in series], scales[:, column], components)
        lost |= np.isnan(R[:, column])
        Q.append(ratios * R[:, column, None])
    R[lost] = 1.0
    variances = np.where(lost[:, None], 1.0, np.stack(Q, axis=2).reshape(n, -1))
    values = {name: specification.constraint(name).fixed for name in specification.coefficients}
    first = specification.projected(
        values
        | {
            "transition_cov": np.diag(variances[0]),
            "observation_cov": np.diag(R[0]),
            "initial_cov": np.zeros(specification.shape("initial_cov")),
        }
    )
    found = stacked([first] * n).replaced(
        transition_cov=most_likely_each(specification.covariance("transition_cov"), _diagonals(variances)),
        observation_cov=most_likely_each(specification.covariance("observation_cov"), _diagonals(R)),
    )
    for k in np.flatnonzero(lost).tolist():
        alone = profiled_start(specification, Panel((series[k],)), components)
        found.transition_cov[k], found.observation_cov[k] = alone.transition_cov, alone.observation_cov
    return found


def _diagonals(variances: Array) -> Array:
    result: Array = variances[:, :, None] * np.eye(variances.shape[1])
    return result


def _best(columns: Sequence[Array], scale: Array, components: Sequence[Component]) -> tuple[Array, Array]:
    """Return for every series the variances of the noisy states (N, q), as multiples of R, and R (N,).

    R is NaN for a series in which the filter lost too many digits.
    """
    grid = _Grid(components)
    best, units = np.tile(grid.start, (len(columns), 1)), np.ones(len(columns))
    windows = [column[window_of(column)] for column in columns]
    told = np.flatnonzero([np.count_nonzero(~np.isnan(one)) > grid.state_dim for one in windows])
    for part in parts_at_hand([len(windows[k]) * grid.state_dim**2 for k in told]):
        chosen = told[part]
        rows = stack_rows([Observations((windows[k] / scale[k])[:, None]) for k in chosen])
        best[chosen], units[chosen] = grid.searched(rows)
    return grid.variances(best), units * scale**2


class _Grid:
    """The points tried: an axis for each noise, its entries the positions of ratios to the noise of the observations.

    The states of all components start diffuse and move as they are known to.
    """

    def __init__(self, components: Sequence[Component]) -> None:
        noises = [noise for component in components for noise in component.noises]
        firsts = list(accumulate((component.state_dim for component in components), initial=0))
        self.tried = [np.array(noise.tried) for noise in noises]
        self.sizes = [len(one) for one in self.tried]
        self.start = np.array([size // 2 for size in self.sizes], dtype=np.int64)
        self.state_dim = firsts[-1]
        self._repeats = np.array([len(noise.states) for noise in noises], dtype=np.int64)
        self._noisy = [
            first + state
            for component, first in zip(components, firsts, strict=False)
            for noise in component.noises
            for state in noise.states
        ]
        self._F = block_diagonal(*(component.tried_transitions[0] for component in components))
        self._h = np.concatenate([component.observation for component in components])

    def variances(self, points: IntArray) -> Array:
        """Return the variance of every noisy state (N, q) in units of that of the observations."""
        ratios = [tried[points[:, axis]] for axis, tried in enumerate(self.tried)]
        return np.repeat(np.stack(ratios, axis=1), self._repeats, axis=1) if ratios else np.zeros((len(points), 0))

    def searched(self, rows: Rows) -> tuple[IntArray, Array]:
        """Return the best point (N, a) of every series, and the variance of the observations there."""
        search = _Search(self, rows)
        if prod(self.sizes) <= WHOLE_GRID:
            for point in product(*(range(size) for size in self.sizes)):
                search.try_points(np.tile(np.array(point, dtype=np.int64), (rows.n_series, 1)))
        else:
            search.climb()
        return search.best, np.where(search.lost, np.nan, search.units)

    def heights(self, rows: Rows, points: IntArray) -> tuple[Array, Array]:
        """Return the log-likelihood of every series at its point, at the best common scale; and that scale."""
        laid = self._laid(rows, points)
        with np.errstate(all="ignore"):
            filtered = filter_unchecked(laid, rows)
        heights, units = _profiled(self._h, rows, filtered)
        return heights, np.where(filtered.lost == 1, np.nan, units)

    def _laid(self, rows: Rows, points: IntArray) -> SystemRows:
        distinct, which = np.unique(points, axis=0, return_inverse=True)
        d, same = self.state_dim, rows.no_index
        G = np.eye(d)[:, self._noisy]
        noise = (G * self.variances(distinct)[:, None, :]) @ G.T
        index = same if len(distinct) == 1 else frozen(which.reshape(-1)[rows.series])
        group_index, group_rows = rows.pattern_groups
        return SystemRows(
            transition=Table(frozen(self._F[None]), same),
            offset=Table(frozen(np.zeros((1, d))), same),
            noise_cov=Table(frozen(np.ascontiguousarray(noise)), index),
            observation=Table(frozen(self._h[None, None]), same),
            observation_offset=Table(frozen(np.zeros((1, 1))), same),
            observation_cov=Table(frozen(np.ones((1, 1, 1))), same),
            group_index=group_index,
            group_rows=group_rows,
            initial_mean=frozen(np.zeros(d)),
            initial_cov=frozen(np.zeros((d, d))),
            initial_factor=frozen(np.eye(d)),
            initial_columns=d,
        )


class _Search:
    """Where each of N series stands: its best point so far, the height there and the scale of the observations."""

    def __init__(self, grid: _Grid, rows: Rows) -> None:
        n = rows.n_series
        self.grid, self.rows = grid, rows
        self.best, self.units = np.tile(grid.start, (n, 1)), np.ones(n)
        self.top, self.lost = np.full(n, -np.inf), np.zeros(n, dtype=bool)

    def try_points(self, points: IntArray) -> None:
        """Move every series to its point if that is higher."""
        heights, units = self.grid.heights(self.rows, points)
        self.lost |= np.isnan(units)
        better = heights > self.top
        self.best[better], self.units[better], self.top[better] = points[better], units[better], heights[better]

    def climb(self) -> None:
        """Go to the best point along every axis in turn, until no series finds a better one."""
        self.try_points(self.best.copy())
        for _ in range(ROUNDS):
            before = self.best.copy()
            for axis, size in enumerate(self.grid.sizes):
                base = self.best.copy()
                for place in range(size):
                    base[:, axis] = place
                    self.try_points(base)
            if np.array_equal(before, self.best):
                break


def _profiled(h: Array, rows: Rows, filtered: FilteredRows) -> tuple[Array, Array]:
    """Return log-likelihoods (N,), up to a constant, at the best common scale of every series, and that scale.

    Harvey 1989, equation (3.3.19): the scale is the mean of the squared innovations in units of their variance.
    """
    first = rows.starts[:-1]
    innovations = rows.values[:, 0] - filtered.predicted_means @ h
    variances = (1.0 + (filtered.predicted_covs @ h) @ h)[filtered.cov_index]
    seen = ~np.isnan(rows.values[:, 0]) & ~_are_diffuse(rows, filtered)
    with np.errstate(all="ignore"):
        squares = np.add.reduceat(np.where(seen, innovations**2 / variances, 0.0), first)
        logs = np.add.reduceat(np.where(seen, np.log(variances), 0.0), first)
        counts = np.add.reduceat(seen.astype(np.float64), first)
        scale = squares / counts
        heights = -0.5 * (counts * np.log(scale) + logs)
        sound = (squares > 1e-24 * counts) & np.isfinite(heights)
    return np.where(sound, heights, -np.inf), np.where(sound, scale, 1.0)


def _are_diffuse(rows: Rows, filtered: FilteredRows) -> BoolArray:
    """Whether the prediction of each row is diffuse: the first of a series, and after rows that left states diffuse."""
    found = np.concatenate([[True], filtered.columns[:-1] > 0])
    found[rows.starts[:-1]] = True
    return found
