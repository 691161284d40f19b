"""What the compiled loops pass to one another: arrays by name, in tuples that numba understands."""

from __future__ import annotations

from typing import NamedTuple

from kalman_em.arrays import Array, IntArray


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
    """The output of the filter: moments of every row, and the factors of the rows with diffuse columns."""

    predicted_means: Array
    predicted_covs: Array
    filtered_means: Array
    filtered_covs: Array
    factors: Array
    columns: IntArray


class Sums(NamedTuple):
    """Second moments added up by group: E[e e'], E[e z'], E[z z'] and the number of rows."""

    residual: Array
    cross: Array
    regressor: Array
    n_rows: Array


class BackwardSpace(NamedTuple):
    """Scratch space of a backward pass, and where it stands.

    `place` holds the number of factors not yet used, and which F and Q `whitened`, `lower` and `pivots` are of.
    """

    lower: Array
    pivots: Array
    whitened: Array
    gain: Array
    conditional: Array
    lag_one: Array
    factor: Array
    information: Array
    score: Array
    watch: Array
    work: Array
    place: IntArray
