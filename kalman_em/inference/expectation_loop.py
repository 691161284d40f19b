"""The backward loop of EM, compiled: smooths and adds up second moments as it goes, keeping no T covariances."""

from __future__ import annotations

import numpy as np

from kalman_em.arrays import Array, BoolArray, IntArray
from kalman_em.compiled import compiled
from kalman_em.inference.backward import RESOLVED, UNRESOLVED, backward_space, begin_series, move_back
from kalman_em.inference.kernel_arrays import Filtered, ObservationEquation, Scalars, Sums, Transitions


@compiled
def expect_rows(
    starts: IntArray,
    n_leading: int,
    values: Array,
    inputs: Array,
    group_observed: BoolArray,
    transitions: Transitions,
    equation: ObservationEquation,
    scalars: Scalars,
    filtered: Filtered,
    is_guarded: bool,
    transition_sums: Sums,
    observation_sums: Sums,
    initial_means: Array,
    initial_covs: Array,
) -> tuple[int, int]:
    """Add up E[e e'], E[e z'] and E[z z'] by group, z = (x, 1, u), filling the last four arguments.

    e is x[t+1] - F x[t] - c for the transitions (a group a distinct Q) and the observed part of y - H x - d for
    the observations (a group a distinct missing pattern, H and R), the leading rows left out. Residuals at the
    current parameters, not raw products, keep the digits that raw second moments of a series far from 0 would
    lose. Returns a status and a row, as `smooth_rows` does.
    """
    d = filtered.filtered_means.shape[1]
    space = backward_space(transitions, filtered.columns, d)
    cov, next_cov = np.empty((d, d)), np.empty((d, d))
    mean, next_mean = np.empty(d), np.empty(d)
    z = np.zeros(d + 1 + inputs.shape[1])
    z[d] = 1.0
    for s in range(starts.shape[0] - 2, -1, -1):
        end = starts[s + 1] - 1
        if filtered.columns[end] > 0:
            return UNRESOLVED, end
        begin_series(space)
        for t in range(end, starts[s] - 1, -1):
            if t == end:
                mean[:] = filtered.filtered_means[t]
                cov[:, :] = filtered.filtered_covs[t]
            else:
                next_mean[:] = mean
                next_cov[:, :] = cov
                status = move_back(t, transitions, scalars, filtered, is_guarded, space, next_mean, next_cov, mean, cov)
                if status != RESOLVED:
                    return status, t
            z[:d] = mean
            z[d + 1 :] = inputs[t]
            if t < end:
                g = transitions.noise_index[t]
                add_transition(
                    transitions.matrix[transitions.matrix_index[t]],
                    transitions.offset[transitions.offset_index[t]],
                    space.gain,
                    space.conditional,
                    next_mean,
                    next_cov,
                    z,
                    transition_sums.residual[g],
                    transition_sums.cross[g],
                )
                add_regressor(z, cov, transition_sums.regressor[g])
                transition_sums.n_rows[g] += 1.0
            if t >= starts[s] + n_leading:
                g = scalars.group_index[t]
                add_observation(
                    values[t],
                    group_observed[g],
                    equation.matrix[equation.matrix_index[t]],
                    equation.offset[equation.offset_index[t]],
                    z,
                    cov,
                    observation_sums.residual[g],
                    observation_sums.cross[g],
                )
                add_regressor(z, cov, observation_sums.regressor[g])
                observation_sums.n_rows[g] += 1.0
        initial_means[s] = mean
        initial_covs[s] = cov
    return RESOLVED, 0


@compiled
def add_regressor(z: Array, cov: Array, total: Array) -> None:
    """Add E[z z'] = z z' + Cov[x] in the block of x."""
    d = cov.shape[0]
    for i in range(z.shape[0]):
        for j in range(z.shape[0]):
            total[i, j] += z[i] * z[j]
    for i in range(d):
        for j in range(d):
            total[i, j] += cov[i, j]


@compiled
def add_transition(
    transition: Array,
    offset: Array,
    gain: Array,
    conditional: Array,
    next_mean: Array,
    next_cov: Array,
    z: Array,
    residual: Array,
    cross: Array,
) -> None:
    """Add E[e e'] and E[e z'] for e = x[t+1] - F x[t] - c.

    Given x[t+1], x[t] is G x[t+1] + const + noise with covariance C (`conditional`), so that
    e = (I - F G) x[t+1] - F noise + const: Cov[e] = (I-FG) V (I-FG)' + F C F', a sum without subtraction,
    and Cov[e, x[t]] = (I-FG) V G' - F C.
    """
    d = gain.shape[0]
    left = np.empty((d, d))
    moved = np.empty((d, d))
    spread = np.empty((d, d))
    error = np.empty(d)
    for i in range(d):
        total = next_mean[i] - offset[i]
        for j in range(d):
            total -= transition[i, j] * z[j]
        error[i] = total
        for j in range(d):
            product, pushed = 0.0, 0.0
            for k in range(d):
                product += transition[i, k] * gain[k, j]
                pushed += transition[i, k] * conditional[k, j]
            left[i, j] = (1.0 if i == j else 0.0) - product
            moved[i, j] = pushed
    for i in range(d):
        for j in range(d):
            total = 0.0
            for k in range(d):
                total += left[i, k] * next_cov[k, j]
            spread[i, j] = total
    for i in range(d):
        for j in range(i + 1):
            total = error[i] * error[j]
            for k in range(d):
                total += spread[i, k] * left[j, k] + moved[i, k] * transition[j, k]
            residual[i, j] += total
            if i != j:
                residual[j, i] += total
        for j in range(d):
            total = -moved[i, j]
            for k in range(d):
                total += spread[i, k] * gain[j, k]
            cross[i, j] += total
        for j in range(z.shape[0]):
            cross[i, j] += error[i] * z[j]


@compiled
def add_observation(
    value: Array,
    observed: BoolArray,
    observation: Array,
    offset: Array,
    z: Array,
    cov: Array,
    residual: Array,
    cross: Array,
) -> None:
    """Add E[e e'] and E[e z'] for the observed part of e = y - H x - d; the missing rows stay 0."""
    p, d = observation.shape
    error = np.zeros(p)
    spread = np.zeros((p, d))
    for i in range(p):
        if observed[i]:
            total = value[i] - offset[i]
            for j in range(d):
                total -= observation[i, j] * z[j]
            error[i] = total
            for j in range(d):
                total = 0.0
                for k in range(d):
                    total += observation[i, k] * cov[k, j]
                spread[i, j] = total
    for i in range(p):
        if observed[i]:
            for j in range(i + 1):
                if observed[j]:
                    total = error[i] * error[j]
                    for k in range(d):
                        total += spread[i, k] * observation[j, k]
                    residual[i, j] += total
                    if i != j:
                        residual[j, i] += total
            for j in range(d):
                cross[i, j] -= spread[i, j]
            for j in range(z.shape[0]):
                cross[i, j] += error[i] * z[j]
