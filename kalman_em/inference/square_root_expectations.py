"""The E-step on factors of covariances."""

from __future__ import annotations

import numpy as np

from kalman_em.arrays import frozen
from kalman_em.inference.backward import UNRESOLVED
from kalman_em.inference.expectations import Expectations, added_up
from kalman_em.inference.filtering import transitions_of
from kalman_em.inference.kernel_arrays import spreads_space
from kalman_em.inference.numerics import SQUARE_ROOT
from kalman_em.inference.observation_sums import are_wide
from kalman_em.inference.regression_sums import mirrored
from kalman_em.inference.rows import Rows, SystemRows
from kalman_em.inference.smoothing import unresolved
from kalman_em.inference.square_root import FactoredRows
from kalman_em.inference.square_root_backward import pair_space
from kalman_em.inference.square_root_expectation_loop import expect_roots
from kalman_em.inference.square_root_information import information_space


def expect_factors(laid: SystemRows, rows: Rows, filtered: FactoredRows, *, diagonal: bool = False) -> Expectations:
    """Return the expectations given all observations, as `expect_filtered` does.

    Raises
    ------
    NumericalError
        If a diffuse start is never resolved.
    """
    d, p, n_groups = laid.state_dim, rows.values.shape[1], len(laid.group_rows)
    is_wide = are_wide(laid, rows)
    spreads = spreads_space(d, len(laid.noise_cov.entries), n_groups)
    q = 0 if is_wide else p
    residual, cross = np.zeros((n_groups, q, q)), np.zeros((n_groups, q, d))
    means, noise_means = np.empty((rows.n_rows, d)), np.zeros((rows.n_rows, d))
    initial_covs = np.zeros((rows.n_series, d, d))
    status, row = expect_roots(
        d,
        rows.starts,
        rows.n_leading,
        frozen(rows.patterns[rows.pattern[laid.group_rows]]),
        transitions_of(laid),
        filtered.noise_roots,
        laid.observation.entries,
        laid.observation.index,
        filtered.reduced.scalars(filtered.factored.predicted_means),
        filtered.factored,
        information_space(d, filtered.reduced.h.shape[1]),
        pair_space(d),
        np.empty((p, d)),
        spreads,
        residual,
        cross,
        means,
        noise_means,
        initial_covs,
    )
    if status == UNRESOLVED:
        raise unresolved(row, rows.starts)
    seen_spreads = None if is_wide else (mirrored(residual), cross)
    covs, own = mirrored(initial_covs), (noise_means, seen_spreads)
    return added_up(laid, rows, means, covs, spreads, own, diagonal=diagonal, numerics=SQUARE_ROOT)
