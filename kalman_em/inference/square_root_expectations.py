"""The E-step on factors of covariances."""

from __future__ import annotations

import numpy as np

from kalman_em.arrays import frozen
from kalman_em.inference.backward import UNRESOLVED
from kalman_em.inference.expectations import (
    Expectations,
    RegressionMoments,
    assembled,
    assembled_sums,
    empty_sums,
    mirrored,
)
from kalman_em.inference.filtering import transitions_of
from kalman_em.inference.kernel_arrays import ObservationEquation, sum_space
from kalman_em.inference.numerics import SQUARE_ROOT
from kalman_em.inference.observation_sums import add_up, are_wide
from kalman_em.inference.rows import Rows, SystemRows
from kalman_em.inference.smoothing import unresolved
from kalman_em.inference.square_root import FactoredRows
from kalman_em.inference.square_root_backward import pair_space
from kalman_em.inference.square_root_expectation_loop import expect_roots
from kalman_em.inference.square_root_information import information_space
from kalman_em.linalg import has_correlations


def expect_factors(laid: SystemRows, rows: Rows, filtered: FactoredRows, *, diagonal: bool = False) -> Expectations:
    """Return the expectations given all observations, as `expect_filtered` does.

    Raises
    ------
    NumericalError
        If a diffuse start is never resolved.
    """
    d, p = laid.state_dim, rows.values.shape[1]
    inputs = np.zeros((rows.n_rows, 0)) if rows.inputs is None else rows.inputs
    r = d + 1 + inputs.shape[1]
    transition = empty_sums(len(laid.noise_cov.entries), d, d, r)
    is_wide = are_wide(laid, rows)
    observation = empty_sums(len(laid.group_rows), 0 if is_wide else p, d, r)
    means = np.empty((rows.n_rows if is_wide else 0, d))
    initial_means, initial_covs = np.empty((rows.n_series, d)), np.empty((rows.n_series, d, d))
    observed = frozen(rows.patterns[rows.pattern[laid.group_rows]])
    status, row = expect_roots(
        np.zeros(d),
        rows.starts,
        rows.n_leading,
        rows.values,
        frozen(inputs),
        observed,
        transitions_of(laid),
        filtered.noise_roots,
        ObservationEquation(
            laid.observation.entries,
            laid.observation.index,
            laid.observation_offset.entries,
            laid.observation_offset.index,
        ),
        filtered.reduced.scalars(filtered.factored.predicted_means),
        filtered.factored,
        information_space(d, filtered.reduced.h.shape[1]),
        pair_space(d),
        np.empty((p, d)),
        sum_space(d, p, inputs.shape[1]),
        transition,
        observation,
        initial_means,
        initial_covs,
        means,
    )
    if status == UNRESOLVED:
        raise unresolved(row, rows.starts)
    first = assembled_sums(transition), frozen(initial_means), frozen(mirrored(initial_covs))
    if is_wide:
        diagonal = diagonal and not has_correlations(laid.observation_cov.entries)
        wide = add_up(laid, rows, means, mirrored(observation.cov), observation.n_rows, diagonal=diagonal)
        return assembled(*first, RegressionMoments(*wide), np.arange(len(wide.n_rows)), None, SQUARE_ROOT)
    entry = laid.observation_cov.index[laid.group_rows]
    return assembled(*first, assembled_sums(observation), entry, observed, SQUARE_ROOT)
