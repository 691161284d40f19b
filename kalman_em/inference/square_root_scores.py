"""How the likelihood depends on the mean of the initial state, from the factored information of all observations."""

from __future__ import annotations

import numpy as np

from kalman_em.arrays import Array, IntArray, frozen
from kalman_em.compiled import kernel
from kalman_em.inference.covariance_roots import factor_of_each
from kalman_em.inference.filtering import transitions_of
from kalman_em.inference.kernel_arrays import Scalars, Transitions
from kalman_em.inference.rows import Rows, SystemRows
from kalman_em.inference.square_root import filter_factors
from kalman_em.inference.square_root_backward import take_up
from kalman_em.inference.square_root_information import EXACT, NOISY, Information, carry_rows, information_space
from kalman_em.inference.square_root_loop import Factored


def factored_scores(laid: SystemRows, rows: Rows) -> tuple[Array, Array, Array]:
    """Return the score (N, d) and information (N, d, d) of each series' likelihood in its initial mean, and what holds.

    As `initial_scores`: log L(m + δ) = log L(m) + r'δ - δ'N δ / 2. Taken back through x[0] = m + w, w ~ N(0, P), the
    information on x[0] is that on m. What was seen without any noise says what m is: the third are rows E (N, d, d),
    0 where there are no more, and the data are impossible unless E δ = 0. Not for diffuse starts.
    """
    filtered = filter_factors(laid, rows)
    d = laid.state_dim
    scores, information = np.zeros((rows.n_series, d)), np.zeros((rows.n_series, d, d))
    held = np.zeros((rows.n_series, d, d))
    score_roots(
        rows.starts,
        transitions_of(laid),
        filtered.noise_roots,
        filtered.reduced.scalars(filtered.factored.predicted_means),
        # What is known of the states says nothing of m: their sizes serve as units only where there are any.
        filtered.factored._replace(units=frozen(np.where(filtered.factored.units > 0.0, filtered.factored.units, 1.0))),
        np.eye(d),
        factor_of_each(laid.initial_cov if laid.initial_cov.ndim == 3 else laid.initial_cov[None]),
        information_space(d, filtered.reduced.h.shape[1]),
        scores,
        information,
        held,
    )
    return frozen(scores), frozen(information), frozen(held)


@kernel
def score_roots(
    starts: IntArray,
    transitions: Transitions,
    noise_roots: Array,
    scalars: Scalars,
    factored: Factored,
    identity: Array,
    initial_roots: Array,
    information: Information,
    scores: Array,
    precisions: Array,
    held: Array,
) -> None:
    """Fill `scores`, `precisions` and `held`, all zeros, with G'g, G'G and E of the rows seen from the initial mean."""
    d = scores.shape[1]
    for s in range(starts.shape[0] - 1):
        information.counts[EXACT], information.counts[NOISY] = 0, 0
        for t in range(starts[s + 1] - 1, starts[s] - 1, -1):
            if t < starts[s + 1] - 1:
                matrix, root = transitions.matrix[transitions.matrix_index[t]], noise_roots[transitions.noise_index[t]]
                carry_rows(matrix, root, information)
            take_up(t, scalars, factored, information)
        carry_rows(identity, initial_roots[s if initial_roots.shape[0] > 1 else 0], information)
        for k in range(information.counts[EXACT]):
            for j in range(d):
                held[s, k, j] = information.exact[k, j]
        for k in range(information.counts[NOISY]):
            for i in range(d):
                scores[s, i] += information.noisy[k, i] * information.noisy_values[k]
                for j in range(d):
                    precisions[s, i, j] += information.noisy[k, i] * information.noisy[k, j]
