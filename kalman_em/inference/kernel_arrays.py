"""What the compiled loops pass to one another: arrays by name, in tuples that numba understands."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from kalman_em.arrays import Array, IntArray

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


class ObservationEquation(NamedTuple):
    """H and d as tables of distinct entries, with the entry that holds at every row."""

    matrix: Array
    matrix_index: IntArray
    offset: Array
    offset_index: IntArray


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
    columns: IntArray


class Sums(NamedTuple):
    """Second moments added up by group: E[e e'], E[e z'], E[z z'], Cov[x] and the number of rows."""

    residual: Array
    cross: Array
    regressor: Array
    cov: Array
    n_rows: Array


class ForwardSpace(NamedTuple):
    """Scratch space of the filter: kernels allocate nothing."""

    mean: Array
    cov: Array
    factor: Array
    gains: Array
    spreads: Array
    constants: Array
    work: Array
    pace: Array
    root: Array
    wide: Array


class BackwardSpace(NamedTuple):
    """Scratch space of a backward pass, and where it stands.

    `place` holds, by the names in `backward`: the number of factors not yet used, which F and Q `whitened` is of, which
    filtered covariance, F and Q `gain` and `conditional` are of, whether the smoothed covariance has converged, and
    whether rounding has taken too many digits somewhere.
    """

    upper: Array
    pivots: Array
    lossless: Array
    whitened: Array
    gain: Array
    conditional: Array
    lag_one: Array
    factor: Array
    watch: Array
    signs: Array
    deviations: Array
    precisions: Array
    pace: Array
    work: Array
    place: IntArray


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


class SumSpace(NamedTuple):
    """Scratch space of the backward loop of EM."""

    mean: Array
    next_mean: Array
    cov: Array
    next_cov: Array
    z: Array
    state_error: Array
    row_error: Array
    left: Array
    spread: Array
    step_residual: Array
    step_cross: Array


def forward_space(d: int, m: int) -> ForwardSpace:
    """Return the space for d states and at most m scalar observations a row."""
    square, vector = (d, d), (m,)
    return ForwardSpace(
        np.empty(d),
        np.empty(square),
        np.empty(square),
        np.empty((m, d)),
        np.empty(vector),
        np.empty(vector),
        empty_work(d),
        np.empty(4),
        np.empty(square),
        np.empty((d + 1, max(2 * d, d + 1))),
    )


def backward_space(d: int, n_factors: int, upper: Array, pivots: Array, lossless: float) -> BackwardSpace:
    """Return the space for a pass back over rows that left `n_factors` diffuse factors; Q = L D L' of the table."""
    square = (d, d)
    place = np.full(8, -1, dtype=np.int64)
    place[0] = n_factors
    return BackwardSpace(
        upper=upper,
        pivots=pivots,
        lossless=np.array([lossless]),
        whitened=np.empty(square),
        gain=np.empty(square),
        conditional=np.empty(square),
        lag_one=np.empty(square),
        factor=np.empty(square),
        watch=np.empty(d),
        signs=signs(d),
        deviations=np.empty(d),
        precisions=np.empty(d),
        pace=np.empty(4),
        work=empty_work(d),
        place=place,
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


def sum_space(d: int, p: int, n_inputs: int) -> SumSpace:
    """Return the space for sums over d states, p values and inputs."""
    square = (d, d)
    z = np.zeros(d + 1 + n_inputs)
    z[d] = 1.0
    return SumSpace(
        np.empty(d),
        np.empty(d),
        np.empty(square),
        np.empty(square),
        z,
        np.empty(d),
        np.empty(p),
        np.empty(square),
        np.empty(square),
        np.empty(square),
        np.empty(square),
    )


def empty_work(d: int) -> Array:
    """Return scratch space for the single steps."""
    return np.empty((max(d, 3), d))
