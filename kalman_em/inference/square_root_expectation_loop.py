"""The backward loop of EM on factors, compiled: smooths, and adds up the covariances as it goes."""

from __future__ import annotations

from kalman_em.arrays import Array, BoolArray, IntArray
from kalman_em.compiled import kernel
from kalman_em.inference.backward import RESOLVED, UNRESOLVED
from kalman_em.inference.kernel_arrays import Scalars, Spreads, Transitions
from kalman_em.inference.square_root_backward import PairSpace, step_back, take_up
from kalman_em.inference.square_root_information import EXACT, NOISY, Information
from kalman_em.inference.square_root_loop import Factored


@kernel
def expect_roots(
    d: int,
    starts: IntArray,
    n_leading: int,
    group_observed: BoolArray,
    transitions: Transitions,
    noise_roots: Array,
    matrix: Array,
    matrix_index: IntArray,
    scalars: Scalars,
    factored: Factored,
    information: Information,
    space: PairSpace,
    seen: Array,
    spreads: Spreads,
    residual: Array,
    cross: Array,
    means: Array,
    noise_means: Array,
    initial_covs: Array,
) -> tuple[int, int]:
    """Fill the last three arguments and add up what `expect_rows` adds up; return a status and a row.

    The noise w of each transition is smoothed with its states, and H L squared, so that neither mean nor covariance of
    a residual is a difference, however small it is beside those of the states. `noise_means[t]` is E[w] after row t.
    `residual` and `cross` take Cov[H x] and -Cov[H x, x] by group of the observations, H being
    `matrix[matrix_index[t]]`; of no length where not wanted.
    """
    n_stored = 0
    for t in range(factored.columns.shape[0]):
        n_stored += 1 if factored.columns[t] > 0 else 0
    for s in range(starts.shape[0] - 2, -1, -1):
        information.counts[EXACT], information.counts[NOISY] = 0, 0
        end = starts[s + 1] - 1
        for t in range(end, starts[s] - 1, -1):
            if factored.columns[t] > 0:
                n_stored -= 1
            if not step_back(t, t == end, n_stored, transitions, noise_roots, factored, information, space, 3 * d):
                return UNRESOLVED, t
            for i in range(d):
                means[t, i] = factored.filtered_means[t, i] + space.mean[i]
            if t < end:
                for i in range(d):
                    noise_means[t, i] = space.pair_mean[2 * d + i]
                q = transitions.noise_index[t]
                add_pair(d, space.pair, spreads.residual[q], spreads.cross[q])
                add_square(d, space.factor, spreads.regressor[q])
            if t >= starts[s] + n_leading:
                g = scalars.group_index[t]
                add_square(d, space.factor, spreads.observed_covs[g])
                if residual.shape[1] > 0:
                    H = matrix[matrix_index[t]]
                    add_seen(H, group_observed[g], space.factor, seen, residual[g], cross[g])
            take_up(t, scalars, factored, information)
        add_square(d, space.factor, initial_covs[s])
    return RESOLVED, 0


@kernel
def add_pair(d: int, pair: Array, residual: Array, cross: Array) -> None:
    """Add Cov[w] (lower triangle) and Cov[w, x[t]] from a factor of x[t+1], x[t] and w."""
    for i in range(d):
        for k in range(pair.shape[1]):
            entry = pair[2 * d + i, k]
            if entry != 0.0:
                for j in range(i + 1):
                    residual[i, j] += entry * pair[2 * d + j, k]
                for j in range(d):
                    cross[i, j] += entry * pair[d + j, k]


@kernel
def add_square(d: int, factor: Array, cov: Array) -> None:
    """Add L L' to the lower triangle."""
    for i in range(d):
        for k in range(d):
            entry = factor[i, k]
            if entry != 0.0:
                for j in range(i + 1):
                    cov[i, j] += entry * factor[j, k]


@kernel
def add_seen(matrix: Array, observed: BoolArray, factor: Array, seen: Array, residual: Array, cross: Array) -> None:
    """Add Cov[H x] (lower triangle) and -Cov[H x, x] for the observed rows of H."""
    p, d = matrix.shape
    for i in range(p):
        for k in range(d):
            total = 0.0
            if observed[i]:
                for j in range(d):
                    total += matrix[i, j] * factor[j, k]
            seen[i, k] = total
    for i in range(p):
        if observed[i]:
            for k in range(d):
                for j in range(i + 1):
                    residual[i, j] += seen[i, k] * seen[j, k]
                for j in range(d):
                    cross[i, j] -= seen[i, k] * factor[j, k]
