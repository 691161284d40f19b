"""How the likelihood depends on the mean of the initial state: a parabola, read off by one backward pass."""

from __future__ import annotations

import numpy as np

from kalman_em.arrays import Array, IntArray, frozen
from kalman_em.compiled import kernel
from kalman_em.inference.dual import carry_back, information_before
from kalman_em.inference.filtering import filter_all, filter_unchecked
from kalman_em.inference.kernel_arrays import GuardSpace, Scalars, guard_space
from kalman_em.inference.rows import Rows, SystemRows
from kalman_em.inference.sizes import sized
from kalman_em.inference.steps import Size, copy_matrix, copy_vector


@kernel
def score_rows(
    size: Size,
    starts: IntArray,
    transition: Array,
    transition_index: IntArray,
    scalars: Scalars,
    predicted_covs: Array,
    cov_index: IntArray,
    guard: GuardSpace,
    scores: Array,
    information: Array,
) -> None:
    """Fill `scores` (N, d) and `information` (N, d, d) with r and N before the first row of each series."""
    d = len(size)
    r, N = guard.score, guard.information
    for s in range(starts.shape[0] - 1):
        for i in range(d):
            r[i] = 0.0
            for j in range(d):
                N[i, j] = 0.0
        for t in range(starts[s + 1] - 1, starts[s] - 1, -1):
            g = scalars.group_index[t]
            information_before(
                size,
                scalars.h[g],
                scalars.values[t],
                scalars.variances[g],
                scalars.counts[g],
                scalars.prior_means[t],
                predicted_covs[cov_index[t]],
                guard,
            )
            if t > starts[s]:
                carry_back(size, transition[transition_index[t - 1]], r, N, guard.mean, guard.products[0])
        copy_vector(size, r, scores[s])
        copy_matrix(size, N, information[s])


def initial_scores(laid: SystemRows, rows: Rows, *, is_checked: bool = True) -> tuple[Array, Array]:
    """Return the score r (N, d) and information (N, d, d) of each series' likelihood in its initial mean.

    Unless it `is_checked`, a filter that leaves the finite numbers is let go on.

    log L(m + δ) = log L(m) + r'δ - δ'N δ / 2 exactly, since the data are linear in m. Not for diffuse starts.

    References
    ----------
    Durbin and Koopman, Time Series Analysis by State Space Methods, 2nd ed. 2012, equations (4.32) and (4.42);
    de Jong, Smoothing and interpolation with the state-space model, JASA 84 (1989).
    """
    filtered = (filter_all if is_checked else filter_unchecked)(laid, rows)
    d = laid.state_dim
    scores, information = np.empty((rows.n_series, d)), np.empty((rows.n_series, d, d))
    score_rows(
        sized(d),
        rows.starts,
        laid.transition.entries,
        laid.transition.index,
        filtered.reduced.scalars(filtered.predicted_means),
        filtered.predicted_covs,
        filtered.cov_index,
        guard_space(d, filtered.reduced.h.shape[1]),
        scores,
        information,
    )
    return frozen(scores), frozen(0.5 * (information + np.swapaxes(information, 1, 2)))
