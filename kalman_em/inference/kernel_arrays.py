"""What the compiled loops pass to one another: arrays by name, in tuples that numba understands."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from kalman_em.arrays import Array, IntArray, ShortArray
from kalman_em.inference.steady import PACE

# Signs repeat after so many rows, less one: row t takes those of t & LAST_SIGN.
LAST_SIGN = 255


class Transitions(NamedTuple):
    """F, c and G Q G' as tables of distinct entries, with the entry that holds at every row."""

    matrix: Array
    matrix_index: IntArray
    offset: Array
    offset_index: IntArray
    noise_cov: Array
    noise_index: IntArray


class Scalars(NamedTuple):
    """The rows as independent scalar observations: values (N, p); h, variances and counts by group.

    `prior_means` are what the values are compared with: the predicted means for values of y, 0 for innovations.
    """

    values: Array
    h: Array
    variances: Array
    counts: IntArray
    group_index: IntArray
    prior_means: Array


class Filtered(NamedTuple):
    """The output of the filter: moments of every row, and the factors of the rows with diffuse columns.

    The covariances are tables; `cov_index` says which entry holds at every row.
    """

    predicted_means: Array
    predicted_covs: Array
    filtered_means: Array
    filtered_covs: Array
    cov_index: IntArray
    factors: Array
    columns: ShortArray


class ForwardSpace(NamedTuple):
    """Scratch space of the filter: kernels allocate nothing."""

    mean: Array
    cov: Array
    factor: Array
    gains: Array
    spreads: Array
    pushed: Array
    coupling: Array
    errors: Array
    ahead: Array
    work: Array
    pace: Array


class Roots(NamedTuple):
    """A root of the covariance, and scratch space, for the rows after a diffuse start."""

    root: Array
    wide: Array


class Begun(NamedTuple):
    """By series, the first row that is still to be filtered, the moments before it, and whether they have converged.

    `lost` is 1 for a series in which an observation took so much variance away that its rounding may count.
    """

    rows: IntArray
    means: Array
    covs: Array
    settled: IntArray
    lost: IntArray


class BackwardSpace(NamedTuple):
    """Scratch space of a backward pass, and where it stands.

    `place` holds, by the names in `gains`: the number of factors not yet used, which F and Q `whitened` is of, which
    filtered covariance, F and Q `gain` is of, whether the smoothed covariance has converged, whether rounding is
    watched, and whether it has taken too many digits of the present series; `lost` says so of every series.
    """

    upper: Array
    pivots: Array
    lossless: Array
    whitened: Array
    gain: Array
    conditional: Array
    moved: Array
    lag_one: Array
    factor: Array
    watch: Array
    signs: Array
    deviations: Array
    precisions: Array
    pace: Array
    work: Array
    place: IntArray
    lost: IntArray


class GuardSpace(NamedTuple):
    """What the dual form carries back, the score r and information N of later observations, and scratch space."""

    score: Array
    information: Array
    gains: Array
    errors: Array
    spreads: Array
    mean: Array
    row: Array
    product: Array
    products: Array


class Spreads(NamedTuple):
    """What the covariances of the states add to the sums of EM, and scratch space of its backward loop.

    `residual`, `cross` and `regressor` hold Cov[e], Cov[e, x[t]] and Cov[x[t]] by group of the transitions,
    `observed_covs` Cov[x[t]] by group of the observations. `covs`, `next_covs` and `lag_one_covs` are sums over rows
    with one F and Q, which go to the others when these are over.
    """

    residual: Array
    cross: Array
    regressor: Array
    observed_covs: Array
    covs: Array
    next_covs: Array
    lag_one_covs: Array
    cov: Array
    next_cov: Array
    left: Array
    spread: Array
    pushed: Array


class Smoothed(NamedTuple):
    """The output of the smoother where it is kept: tables filled from their end, and which entry holds at every row."""

    covs: Array
    lag_one_covs: Array
    cov_index: IntArray


def nothing_smoothed(d: int) -> Smoothed:
    """Return tables without room, for sums alone."""
    return Smoothed(np.empty((0, d, d)), np.empty((0, d, d)), np.empty(0, dtype=np.int64))


def forward_space(d: int, m: int) -> ForwardSpace:
    """Return the space for d states and at most m scalar observations a row."""
    square, vector = (d, d), (m,)
    return ForwardSpace(
        np.empty(d),
        np.empty(square),
        np.empty(square),
        np.empty((m, d)),
        np.empty(vector),
        np.empty((m, d)),
        np.empty((m, m)),
        np.empty(vector),
        np.empty(d),
        empty_work(d),
        np.empty(PACE),
    )


def roots_space(d: int) -> Roots:
    """Return the space of a root for d states."""
    return Roots(np.empty((d, d)), np.empty((d + 1, max(2 * d, d + 1))))


def backward_space(
    d: int, n_series: int, n_factors: int, upper: Array, pivots: Array, lossless: float
) -> BackwardSpace:
    """Return the space for a pass back over rows that left `n_factors` diffuse factors; Q = U D U' of the table."""
    square = (d, d)
    place = np.full(9, -1, dtype=np.int64)
    place[0] = n_factors
    return BackwardSpace(
        upper=upper,
        pivots=pivots,
        lossless=np.array([lossless]),
        whitened=np.empty(square),
        gain=np.empty(square),
        conditional=np.empty(square),
        moved=np.empty(square),
        lag_one=np.empty(square),
        factor=np.empty(square),
        watch=np.empty(d),
        signs=signs(d),
        deviations=np.empty(d),
        precisions=np.empty(d),
        pace=np.empty(PACE),
        work=empty_work(d),
        place=place,
        lost=np.zeros(n_series, dtype=np.int64),
    )


def guard_space(d: int, m: int) -> GuardSpace:
    """Return the space of the dual form for d states and at most m scalar observations a row."""
    return GuardSpace(
        score=np.zeros(d),
        information=np.zeros((d, d)),
        gains=np.empty((m, d)),
        errors=np.empty(m),
        spreads=np.empty(m),
        mean=np.empty(d),
        row=np.empty(d),
        product=np.empty(d),
        products=np.empty((3, d, d)),
    )


@lru_cache(maxsize=64)
def signs(d: int) -> Array:
    """Return signs without a pattern that a gain could cancel, the same ones every time."""
    return np.random.default_rng(0).choice(np.array([-1.0, 1.0]), size=(LAST_SIGN + 1, d))


def spreads_space(d: int, n_steps: int, n_observed: int) -> Spreads:
    """Return sums at 0 for d states and so many groups of transitions and of observations."""
    moved = np.zeros((3, n_steps, d, d))
    waiting, scratch = np.zeros((3, d, d)), np.empty((5, d, d))
    return Spreads(
        residual=moved[0],
        cross=moved[1],
        regressor=moved[2],
        observed_covs=np.zeros((n_observed, d, d)),
        covs=waiting[0],
        next_covs=waiting[1],
        lag_one_covs=waiting[2],
        cov=scratch[0],
        next_cov=scratch[1],
        left=scratch[2],
        spread=scratch[3],
        pushed=scratch[4],
    )


def empty_work(d: int) -> Array:
    """Return scratch space for the single steps; `smooth_step` leaves in its last row what it says."""
    return np.empty((max(d, 3) + 1, d))
