"""The backward loop of EM on factors, compiled: smooths and adds up second moments as it goes."""

from __future__ import annotations

from kalman_em.arrays import Array, BoolArray, IntArray
from kalman_em.compiled import kernel
from kalman_em.inference.backward import RESOLVED, UNRESOLVED
from kalman_em.inference.expectation_loop import add_observation, add_products, add_step
from kalman_em.inference.kernel_arrays import ObservationEquation, Scalars, Sums, SumSpace, Transitions
from kalman_em.inference.square_root_backward import PairSpace, step_back, take_up
from kalman_em.inference.square_root_information import EXACT, NOISY, Information
from kalman_em.inference.square_root_loop import Factored


@kernel
def expect_roots(
    size: Array,
    starts: IntArray,
    n_leading: int,
    values: Array,
    inputs: Array,
    group_observed: BoolArray,
    transitions: Transitions,
    noise_roots: Array,
    equation: ObservationEquation,
    scalars: Scalars,
    factored: Factored,
    information: Information,
    space: PairSpace,
    seen: Array,
    sums: SumSpace,
    transition_sums: Sums,
    observation_sums: Sums,
    initial_means: Array,
    initial_covs: Array,
    means: Array,
) -> tuple[int, int]:
    """Add up what `expect_rows` adds up, filling the last four arguments; return a status and a row.

    The noise w of each transition is smoothed with its states, and H L squared, so that the covariance of a residual
    is no difference, however small it is beside those of the states. `size` is an array of length d. Where `means` has
    rows they are filled with the smoothed means, and of the observations only the covariances of the states are added.
    """
    d, r = len(size), sums.z.shape[0]
    mean, next_mean, z = sums.mean, sums.next_mean, sums.z
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
                next_mean[i] = mean[i]
                mean[i] = factored.filtered_means[t, i] + space.mean[i]
                z[i] = mean[i]
            for i in range(d + 1, r):
                z[i] = inputs[t, i - d - 1]
            if t < end:
                q = transitions.noise_index[t]
                add_step(
                    size,
                    transitions.matrix[transitions.matrix_index[t]],
                    transitions.offset[transitions.offset_index[t]],
                    next_mean,
                    z,
                    sums.state_error,
                    transition_sums.residual[q],
                    transition_sums.cross[q],
                )
                add_products(size, z, transition_sums.regressor[q])
                add_pair(d, space.pair, transition_sums.residual[q], transition_sums.cross[q])
                add_square(d, space.factor, transition_sums.cov[q])
                transition_sums.n_rows[q] += 1.0
            if t >= starts[s] + n_leading:
                g = scalars.group_index[t]
                add_square(d, space.factor, observation_sums.cov[g])
                observation_sums.n_rows[g] += 1.0
            if t >= starts[s] + n_leading and means.shape[0] == 0:
                g = scalars.group_index[t]
                matrix = equation.matrix[equation.matrix_index[t]]
                add_observation(
                    size,
                    values[t],
                    group_observed[g],
                    matrix,
                    equation.offset[equation.offset_index[t]],
                    z,
                    sums.row_error,
                    observation_sums.residual[g],
                    observation_sums.cross[g],
                )
                add_products(size, z, observation_sums.regressor[g])
                add_seen(
                    matrix,
                    group_observed[g],
                    space.factor,
                    seen,
                    observation_sums.residual[g],
                    observation_sums.cross[g],
                )
            if means.shape[0] > 0:
                for i in range(d):
                    means[t, i] = mean[i]
            take_up(t, scalars, factored, information)
        for i in range(d):
            initial_means[s, i] = mean[i]
            for j in range(d):
                initial_covs[s, i, j] = 0.0
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
