"""How the likelihood depends on the mean of the initial state: a parabola, read off by one backward pass."""

from __future__ import annotations

import numpy as np

from kalman_em.arrays import Array, IntArray, frozen
from kalman_em.compiled import compiled
from kalman_em.inference.backward import information_before
from kalman_em.inference.filtering import filter_all
from kalman_em.inference.rows import Rows, SystemRows


@compiled
def score_rows(
    starts: IntArray,
    transition: Array,
    transition_index: IntArray,
    predicted_means: Array,
    predicted_covs: Array,
    values: Array,
    group_index: IntArray,
    rows: Array,
    variances: Array,
    counts: IntArray,
    scores: Array,
    information: Array,
) -> None:
    """Fill `scores` (N, d) and `information` (N, d, d) with r and N before the first row of each series."""
    d = predicted_means.shape[1]
    r = np.zeros(d)
    N = np.zeros((d, d))
    for s in range(starts.shape[0] - 1):
        r[:] = 0.0
        N[:, :] = 0.0
        for t in range(starts[s + 1] - 1, starts[s] - 1, -1):
            g = group_index[t]
            information_before(rows[g], values[t], variances[g], counts[g], predicted_means[t], predicted_covs[t], r, N)
            if t > starts[s]:
                F = transition[transition_index[t - 1]]
                r[:] = F.T @ r
                N[:, :] = F.T @ N @ F
        scores[s] = r
        information[s] = 0.5 * (N + N.T)


def initial_scores(laid: SystemRows, rows: Rows) -> tuple[Array, Array]:
    """Return the score r (N, d) and information (N, d, d) of each series' likelihood in its initial mean.

    log L(m + δ) = log L(m) + r'δ - δ'N δ / 2 exactly, since the data are linear in m. Not for diffuse starts.

    References
    ----------
    Durbin and Koopman, Time Series Analysis by State Space Methods, 2nd ed. 2012, equations (4.32) and (4.42);
    de Jong, Smoothing and interpolation with the state-space model, JASA 84 (1989).
    """
    filtered = filter_all(laid, rows)
    d = len(laid.initial_mean)
    scores, information = np.empty((rows.n_series, d)), np.empty((rows.n_series, d, d))
    score_rows(
        rows.starts,
        laid.transition.entries,
        laid.transition.index,
        filtered.predicted_means,
        filtered.predicted_covs,
        filtered.reduced.values,
        filtered.reduced.group_index,
        filtered.reduced.h,
        filtered.reduced.variances,
        filtered.reduced.counts,
        scores,
        information,
    )
    return frozen(scores), frozen(information)
