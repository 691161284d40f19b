"""The backward loop of EM, compiled: smooths and adds up second moments as it goes, keeping no T covariances."""

from __future__ import annotations

from kalman_em.arrays import Array, BoolArray, IntArray
from kalman_em.compiled import inlined, kernel
from kalman_em.inference.backward import IS_STEADY, RESOLVED, UNRESOLVED, begin_series, move_back
from kalman_em.inference.kernel_arrays import (
    BackwardSpace,
    Filtered,
    GuardSpace,
    ObservationEquation,
    Scalars,
    Sums,
    SumSpace,
    Transitions,
)
from kalman_em.inference.steps import Size, copy_matrix, copy_vector


@kernel
def expect_rows(
    size: Size,
    starts: IntArray,
    n_leading: int,
    values: Array,
    inputs: Array,
    group_observed: BoolArray,
    transitions: Transitions,
    equation: ObservationEquation,
    scalars: Scalars,
    filtered: Filtered,
    guard: GuardSpace | None,
    space: BackwardSpace,
    sums: SumSpace,
    transition_sums: Sums,
    observation_sums: Sums,
    initial_means: Array,
    initial_covs: Array,
    kept_means: Array,
) -> tuple[int, int]:
    """Add up E[e e'], E[e z'] and E[z z'] by group, z = (x, 1, u), filling the last four arguments.

    e is x[t+1] - F x[t] - c for the transitions (a group a distinct Q) and the observed part of y - H x - d for
    the observations (a group a distinct missing pattern, H and R), the leading rows left out. Residuals at the
    current parameters, not raw products, keep the digits that raw second moments of a series far from 0 would
    lose. Of the symmetric sums the lower triangles are filled; what the covariances of the states add to the sums of
    the observations is left out but for the sums of those covariances. Where `kept_means` (N, d) has room it takes the
    smoothed means, and the sums of the observations are left to the caller but for covariances and counts. Returns a
    status and a row, as `smooth_rows` does.
    """
    mean, next_mean, cov, next_cov, z, state_error, row_error, left, spread, step_residual, step_cross = sums
    d, r = len(size), z.shape[0]
    keeps_means = kept_means.shape[0] > 0
    for s in range(starts.shape[0] - 2, -1, -1):
        end = starts[s + 1] - 1
        if filtered.columns[end] > 0:
            return UNRESOLVED, end
        begin_series(size, guard, space)
        q, g, n_steady = -1, -1, 0.0
        for t in range(end, starts[s] - 1, -1):
            was_steady = n_steady > 0.0
            if t == end:
                copy_vector(size, filtered.filtered_means[t], mean)
                copy_matrix(size, filtered.filtered_covs[filtered.cov_index[t]], cov)
            else:
                copy_vector(size, mean, next_mean)
                if not was_steady:
                    copy_matrix(size, cov, next_cov)
                status = move_back(
                    size, t, transitions, scalars, filtered, guard, space, next_mean, next_cov, mean, cov
                )
                if status != RESOLVED:
                    return status, t
            is_steady = t < end and space.place[IS_STEADY] == 1
            if was_steady and not is_steady:
                add_spread(size, n_steady, next_cov, step_residual, step_cross, transition_sums, q, observation_sums, g)
                n_steady = 0.0
            for i in range(d):
                z[i] = mean[i]
            if keeps_means:
                copy_vector(size, mean, kept_means[t])
            for i in range(d + 1, r):
                z[i] = inputs[t, i - d - 1]
            is_observed = t >= starts[s] + n_leading
            g = scalars.group_index[t]
            if t < end:
                q, f = transitions.noise_index[t], transitions.matrix_index[t]
                if not was_steady or not is_steady:
                    spread_of_step(
                        size, transitions.matrix[f], space, next_cov, left, spread, step_residual, step_cross
                    )
                add_step(
                    size,
                    transitions.matrix[f],
                    transitions.offset[transitions.offset_index[t]],
                    next_mean,
                    z,
                    state_error,
                    transition_sums.residual[q],
                    transition_sums.cross[q],
                )
                add_products(size, z, transition_sums.regressor[q])
                transition_sums.n_rows[q] += 1.0
            if is_observed and not keeps_means:
                add_observation(
                    size,
                    values[t],
                    group_observed[g],
                    equation.matrix[equation.matrix_index[t]],
                    equation.offset[equation.offset_index[t]],
                    z,
                    row_error,
                    observation_sums.residual[g],
                    observation_sums.cross[g],
                )
                add_products(size, z, observation_sums.regressor[g])
            if is_observed:
                observation_sums.n_rows[g] += 1.0
            if is_steady:
                n_steady += 1.0
            else:
                add_spread(
                    size,
                    1.0,
                    cov,
                    step_residual,
                    step_cross,
                    transition_sums,
                    q if t < end else -1,
                    observation_sums,
                    g if is_observed else -1,
                )
        if n_steady > 0.0:
            add_spread(size, n_steady, cov, step_residual, step_cross, transition_sums, q, observation_sums, g)
        copy_vector(size, mean, initial_means[s])
        copy_matrix(size, cov, initial_covs[s])
    return RESOLVED, 0


@kernel
def add_products(size: Size, z: Array, products: Array) -> None:
    """Add z z' to the lower triangle of `products`."""
    d = len(size)
    for i in range(d):
        for j in range(i + 1):
            products[i, j] += z[i] * z[j]
    for i in range(d, z.shape[0]):
        for j in range(i + 1):
            products[i, j] += z[i] * z[j]


@inlined
def add_spread(
    size: Size,
    n: float,
    cov: Array,
    step_residual: Array,
    step_cross: Array,
    transition_sums: Sums,
    q: int,
    observation_sums: Sums,
    g: int,
) -> None:
    """Add n times what the covariances of the states give, to group q of the transitions and g of the observations.

    -1 stands for no group.
    """
    d = len(size)
    if q >= 0:
        for i in range(d):
            for j in range(i + 1):
                transition_sums.cov[q, i, j] += n * cov[i, j]
                transition_sums.residual[q, i, j] += n * step_residual[i, j]
            for j in range(d):
                transition_sums.cross[q, i, j] += n * step_cross[i, j]
    if g >= 0:
        for i in range(d):
            for j in range(i + 1):
                observation_sums.cov[g, i, j] += n * cov[i, j]


@kernel
def add_step(
    size: Size,
    transition: Array,
    offset: Array,
    next_mean: Array,
    z: Array,
    error: Array,
    residual: Array,
    cross: Array,
) -> None:
    """Add e e' (lower triangle) and e z' for e = E[x[t+1] - F x[t] - c]."""
    d = len(size)
    for i in range(d):
        total = next_mean[i] - offset[i]
        for j in range(d):
            total -= transition[i, j] * z[j]
        error[i] = total
    for i in range(d):
        for j in range(i + 1):
            residual[i, j] += error[i] * error[j]
        for j in range(d):
            cross[i, j] += error[i] * z[j]
        for j in range(d, z.shape[0]):
            cross[i, j] += error[i] * z[j]


@kernel
def spread_of_step(
    size: Size,
    transition: Array,
    space: BackwardSpace,
    next_cov: Array,
    left: Array,
    spread: Array,
    residual: Array,
    cross: Array,
) -> None:
    """Fill Cov[e] (lower triangle) and Cov[e, x[t]] for e = x[t+1] - F x[t] - c.

    Given x[t+1], x[t] is G x[t+1] + const + noise with covariance C (`space.conditional`), so that
    e = (I - F G) x[t+1] - F noise + const: Cov[e] = (I-FG) V (I-FG)' + F C F', a sum without subtraction,
    and Cov[e, x[t]] = (I-FG) V G' - F C.
    """
    d = len(size)
    for i in range(d):
        for j in range(d):
            product, pushed = 0.0, 0.0
            for k in range(d):
                product += transition[i, k] * space.gain[k, j]
                pushed += transition[i, k] * space.conditional[k, j]
            left[i, j] = (1.0 if i == j else 0.0) - product
            cross[i, j] = -pushed
    for i in range(d):
        for j in range(d):
            total = 0.0
            for k in range(d):
                total += left[i, k] * next_cov[k, j]
            spread[i, j] = total
    for i in range(d):
        for j in range(i + 1):
            total = 0.0
            for k in range(d):
                total += spread[i, k] * left[j, k] - cross[i, k] * transition[j, k]
            residual[i, j] = total
    for i in range(d):
        for j in range(d):
            total = cross[i, j]
            for k in range(d):
                total += spread[i, k] * space.gain[j, k]
            cross[i, j] = total


@kernel
def add_observation(
    size: Size,
    value: Array,
    observed: BoolArray,
    observation: Array,
    offset: Array,
    z: Array,
    error: Array,
    residual: Array,
    cross: Array,
) -> None:
    """Add e e' (lower triangle) and e z' for the observed part of e = y - H E[x] - d; the missing rows stay 0."""
    p, d = observation.shape[0], len(size)
    for i in range(p):
        if observed[i]:
            total = value[i] - offset[i]
            for j in range(d):
                total -= observation[i, j] * z[j]
            error[i] = total
        else:
            error[i] = 0.0
    for i in range(p):
        if observed[i]:
            for j in range(i + 1):
                residual[i, j] += error[i] * error[j]
            for j in range(z.shape[0]):
                cross[i, j] += error[i] * z[j]
