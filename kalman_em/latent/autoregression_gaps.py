"""Gaps in a Markov autoregression: the rows over which a missing value is felt, path of regimes by path.

From a missing value on, until p observed rows in a row, the density of a row depends on values that were not seen.
Given the regimes all errors

    e[t] = a(z[t])'(Y[t] - M),        e[t] ~ N(0, v(z[t])),

are linear in the missing values x, e = C x + r: so they are Gaussian given the path and what was observed, with
precision C' V^-1 C, and are integrated out exactly. After the gap paths with the same last p regimes are one again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from kalman_em.arrays import Array, BoolArray, IntArray, frozen
from kalman_em.errors import InputError
from kalman_em.latent.regime_autoregression import LaggedSums, MarkovAutoregressionParams

# More paths of regimes over one gap than this make a step of EM too long.
MOST_PATHS = 16384


@dataclass(frozen=True, eq=False)
class Gap:
    """The rows over which missing values are felt, and the p rows before them, (p + L,) less the centre.

    The paths of regimes over them, (H, p + L), have the oldest regime first.
    """

    values: Array
    order: int
    n_regimes: int

    @property
    def n_rows(self) -> int:
        """Number of rows of the gap, L."""
        return len(self.values) - self.order

    @property
    def missing(self) -> BoolArray:
        """Which of the values are missing, shape (p + L,)."""
        return np.isnan(self.values)

    @cached_property
    def paths(self) -> IntArray:
        """All paths of regimes over the rows."""
        n = len(self.values)
        return np.array(np.unravel_index(np.arange(self.n_regimes**n), (self.n_regimes,) * n)).T

    def histories(self, row: int, length: int) -> IntArray:
        """Return the number of the history of `length` regimes that ends at a row of `values`, for each path (H,)."""
        digits = self.paths[:, row - length + 1 : row + 1][:, ::-1]
        return np.asarray(digits @ self.n_regimes ** np.arange(length - 1, -1, -1))

    def moves(self, transition: Array) -> Array:
        """Return the probability of the moves of each path from the last row before the gap on, (H,)."""
        old, new = self.paths[:, self.order - 1 : -1], self.paths[:, self.order :]
        return np.asarray(transition[old, new].prod(axis=1))

    def up_to(self, n_rows: int) -> Gap:
        """Return the first `n_rows` of the gap."""
        return Gap(self.values[: self.order + n_rows], self.order, self.n_regimes)


@dataclass(frozen=True, eq=False)
class GapMoments:
    """Of each path: the log density of what was observed (H,), the values with what is missing expected (H, p + L), and
    the covariance of them all (H, p + L, p + L)."""

    log_densities: Array
    means: Array
    covs: Array


@dataclass(frozen=True, eq=False)
class Stretch:
    """A series as its rows with all lags, each a number among those of all series, and its gaps, in order.

    `begin` is its first row among those of all series, `n_steps` the number of its rows; those after the last piece
    are missing to the end.
    """

    begin: int
    n_steps: int
    pieces: tuple[int | Gap, ...]


def gap_moments(params: MarkovAutoregressionParams, gap: Gap, centre: float) -> GapMoments:
    """Return the moments of the values of a gap for each path of regimes.

    Examples
    --------
    With φ = 0.5 and both neighbours at 1 the missing value is at (0.5 + 0.5) / (1 + 0.25):

    >>> params = MarkovAutoregressionParams([0.0], [0.5], [1.0], [1.0], [[1.0]])
    >>> gap = Gap(np.array([1.0, np.nan, 1.0]), 1, 1)
    >>> gap_moments(params, gap, 0.0).means.tolist()
    [[1.0, 0.8, 1.0]]
    """
    p, n, missing, latest = gap.order, gap.n_rows, gap.missing, gap.paths[:, gap.order :]
    filters, variances = params.filters[latest], params.spreads[latest]
    loads = np.zeros((len(latest), n, p + n))
    for row in range(n):
        loads[:, row, row : row + p + 1] = filters[:, row, ::-1]
    off = np.where(missing, 0.0, gap.values) - (params.means - centre)[gap.paths]
    errors = np.einsum("hlr,hr->hl", loads, off)
    hidden = loads[:, :, missing]
    weighted = hidden / variances[:, :, None]
    precision = np.swapaxes(weighted, 1, 2) @ hidden
    means = np.broadcast_to(np.where(missing, 0.0, gap.values), gap.paths.shape).copy()
    covs = np.zeros((len(latest), p + n, p + n))
    places = np.flatnonzero(missing)
    inverse = np.linalg.inv(precision)
    means[:, places] = -np.einsum("hij,hlj,hl->hi", inverse, weighted, errors)
    covs[:, places[:, None], places] = inverse
    errors = errors + np.einsum("hlj,hj->hl", hidden, means[:, places])
    heights = -0.5 * (np.log(2.0 * np.pi * variances) + errors**2 / variances).sum(axis=1)
    heights += 0.5 * (len(places) * np.log(2.0 * np.pi) - np.linalg.slogdet(precision)[1])
    return GapMoments(heights, means, covs)


def gap_sums(gap: Gap, moments: GapMoments, weights: Array) -> LaggedSums:
    """Return the sums of the rows of a gap, in expectation, its paths having these weights (H,)."""
    p, K = gap.order, gap.n_regimes
    n = K ** (p + 1)
    counts, first, second = np.zeros(n), np.zeros((n, p + 1)), np.zeros((K, p + 1, p + 1))
    for row in range(p, p + gap.n_rows):
        lags = np.arange(row, row - p - 1, -1)
        history, values = gap.histories(row, p + 1), moments.means[:, lags]
        squares = values[:, :, None] * values[:, None, :] + moments.covs[:, lags[:, None], lags]
        counts += np.bincount(history, weights, n)
        np.add.at(first, history, weights[:, None] * values)
        np.add.at(second, gap.paths[:, row], weights[:, None, None] * squares)
    return LaggedSums(counts, first, second)


def stretches(
    columns: Sequence[Array], names: Sequence[object], order: int, n_regimes: int
) -> tuple[Array, tuple[Stretch, ...]]:
    """Return the rows that have all their lags, (N, p + 1), and how `columns`, each (T,), are made of them.

    Raises
    ------
    InputError
        If one of the first p values of a series is missing, or a gap has too many paths; it names series and row.
    """
    rows: list[Array] = []
    found, begin = [], 0
    for values, name in zip(columns, names, strict=True):
        where = f" of series {name!r}" if len(columns) > 1 else ""
        there = ~np.isnan(values)
        if not there[:order].all():
            raise InputError(
                f"data: expected the first {order} rows{where} observed, as the others are seen from there, got NaN at "
                f"row {int(np.argmin(there[:order]))}; begin with {order} observed rows"
            )
        end = int(np.flatnonzero(there)[-1]) + 1
        pieces: list[int | Gap] = []
        t = order
        while t < end:
            if there[t]:
                pieces.append(len(rows))
                rows.append(values[t - order : t + 1][::-1])
                t += 1
                continue
            last, n_seen = t, 0
            while last < end and n_seen < order:
                n_seen = n_seen + 1 if there[last] else 0
                last += 1
            gap = Gap(frozen(values[t - order : last].copy()), order, n_regimes)
            if n_regimes ** len(gap.values) > MOST_PATHS:
                raise InputError(
                    f"data: the gap at row {t}{where} is felt for {gap.n_rows} rows, over which there are {n_regimes} "
                    f"to the power {len(gap.values)} paths of regimes, expected at most {MOST_PATHS}; cut the series "
                    "there and pass its parts as a panel"
                )
            pieces.append(gap)
            t = last
        found.append(Stretch(begin, len(values), tuple(pieces)))
        begin += len(values)
    laid = np.array(rows) if rows else np.zeros((0, order + 1))
    return frozen(laid), tuple(found)
