"""Filter and smoother that carry factors of covariances, for systems too ill conditioned for covariances."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kalman_em.arrays import Array, IntArray, Table, frozen
from kalman_em.inference.backward import UNRESOLVED
from kalman_em.inference.covariance_roots import factor_of_each
from kalman_em.inference.filtering import FilteredRows, ReducedRows, check_finite, reduce_rows, transitions_of
from kalman_em.inference.rows import Rows, SystemRows
from kalman_em.inference.smoothing import SmoothedRows, unresolved
from kalman_em.inference.square_root_backward import pair_space, smooth_roots
from kalman_em.inference.square_root_information import information_space
from kalman_em.inference.square_root_loop import Factored, filter_roots, root_space
from kalman_em.inference.square_root_steps import REACHES
from kalman_em.linalg import symmetrised


@dataclass(frozen=True, eq=False)
class FactoredRows:
    """The square-root filter's output over the rows of all series; `noise_roots` are factors of the table of Q."""

    reduced: ReducedRows
    factored: Factored
    noise_roots: Array
    log_likelihoods: Array

    @property
    def log_likelihood(self) -> float:
        """log p(y) of all series."""
        return float(self.log_likelihoods.sum())

    def as_covariances(self) -> FilteredRows:
        """Return the same with covariances in the place of factors."""
        found = self.factored
        return FilteredRows(
            reduced=self.reduced,
            predicted_means=found.predicted_means,
            predicted_covs=squared(found.predicted_factors),
            filtered_means=found.filtered_means,
            filtered_covs=squared(found.filtered_factors),
            cov_index=frozen(np.arange(len(found.columns))),
            log_likelihoods=self.log_likelihoods,
            factors=frozen(found.diffuse[:, :, :-REACHES]),
            columns=frozen(found.columns.astype(np.int16)),
        )


def squared(factors: Array) -> Array:
    """Return L L' for each factor L, exactly symmetric."""
    return np.asarray(symmetrised(factors @ np.swapaxes(factors, 1, 2)))


def filter_factors(laid: SystemRows, rows: Rows) -> FactoredRows:
    """Filter every series of `rows` with factors.

    Raises
    ------
    NumericalError
        If an observation is impossible under the system, or the log-likelihood is not finite.

    References
    ----------
    Kailath, Sayed and Hassibi, Linear Estimation, 2000, chapter 12; Bierman, Factorization Methods for Discrete
    Sequential Estimation, 1977, chapters V and VI.
    """
    reduced = reduce_rows(laid, rows.values, laid.observation_offset)
    n, d = rows.n_rows, laid.state_dim
    noise_roots = factor_of_each(laid.noise_cov.entries)
    room = min(n, 4 * d * rows.n_series) if laid.initial_columns else 0
    while True:
        factored = Factored(
            predicted_means=np.empty((n, d)),
            predicted_factors=np.empty((n, d, d)),
            filtered_means=np.empty((n, d)),
            filtered_factors=np.empty((n, d, d)),
            units=np.empty((n, d)),
            diffuse=np.zeros((room, d, d + REACHES)),
            columns=np.zeros(n, dtype=np.int64),
        )
        log_likelihoods = reduced.leftover.copy() if len(reduced.leftover) else np.zeros(n)
        needed = filter_roots(
            rows.starts,
            transitions_of(laid),
            noise_roots,
            reduced.scalars(factored.predicted_means),
            np.atleast_2d(laid.initial_mean),
            factor_of_each(laid.initial_cov if laid.initial_cov.ndim == 3 else laid.initial_cov[None]),
            laid.initial_factor,
            laid.initial_columns,
            factored,
            log_likelihoods,
            root_space(d, reduced.h.shape[1]),
        )
        if needed <= room:
            break
        room = needed
    check_finite(log_likelihoods, factored.filtered_means, rows)
    factored = factored._replace(diffuse=factored.diffuse[:needed])
    return FactoredRows(reduced, Factored(*(frozen(part) for part in factored)), noise_roots, frozen(log_likelihoods))


def smooth_factors(laid: SystemRows, starts: IntArray, filtered: FactoredRows) -> SmoothedRows:
    """Smooth every series; `NumericalError` where a diffuse element is never resolved."""
    n, d = filtered.factored.filtered_means.shape
    means, factors, lag_one = np.empty((n, d)), np.empty((n, d, d)), np.zeros((n, d, d))
    status, row = smooth_roots(
        starts,
        transitions_of(laid),
        filtered.noise_roots,
        filtered.reduced.scalars(filtered.factored.predicted_means),
        filtered.factored,
        information_space(d, filtered.reduced.h.shape[1]),
        pair_space(d),
        means,
        factors,
        lag_one,
    )
    if status == UNRESOLVED:
        raise unresolved(row, starts)
    index = frozen(np.arange(n))
    return SmoothedRows(frozen(means), Table(squared(factors), index), Table(lag_one, index))
