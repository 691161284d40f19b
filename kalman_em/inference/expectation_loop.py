"""The backward loop of EM, compiled: smooths and adds up second moments as it goes, keeping no T covariances."""

from __future__ import annotations

import numpy as np

from kalman_em.arrays import Array, BoolArray, IntArray
from kalman_em.compiled import compiled
from kalman_em.inference.backward import (
    MAX_GROWTH,
    RESOLVED,
    ROUNDED,
    UNRESOLVED,
    dual_step,
    growth,
    information_before,
    step_back,
)
from kalman_em.inference.loops import factor_covs
from kalman_em.inference.steps import empty_work, whiten_rows


@compiled
def expect_rows(
    starts: IntArray,
    values: Array,
    inputs: Array,
    group_index: IntArray,
    group_observed: BoolArray,
    transition: Array,
    transition_index: IntArray,
    offset: Array,
    offset_index: IntArray,
    noise_cov: Array,
    noise_index: IntArray,
    observation: Array,
    observation_index: IntArray,
    observation_offset: Array,
    observation_offset_index: IntArray,
    predicted_means: Array,
    predicted_covs: Array,
    filtered_means: Array,
    filtered_covs: Array,
    factors: Array,
    columns: IntArray,
    reduced: Array,
    reduced_rows: Array,
    reduced_variances: Array,
    reduced_counts: IntArray,
    is_guarded: bool,
    n_leading: int,
    transition_residual: Array,
    transition_cross: Array,
    transition_regressor: Array,
    transition_count: Array,
    observation_residual: Array,
    observation_cross: Array,
    observation_regressor: Array,
    observation_count: Array,
    initial_means: Array,
    initial_covs: Array,
) -> tuple[int, int]:
    """Add up E[e e'], E[e z'] and E[z z'] by group, z = (x, 1, u), filling the last ten arguments.

    e is x[t+1] - F x[t] - c for the transitions (a group a distinct Q) and the observed part of y - H x - d for
    the observations (a group a distinct missing pattern, H and R), the leading rows left out. Residuals at the
    current parameters, not raw products, keep the digits that raw second moments of a series far from 0 would
    lose. Returns a status and a row, as `smooth_rows` does.
    """
    d = filtered_means.shape[1]
    work = empty_work(d)
    gain, conditional, rows = np.empty((d, d)), np.empty((d, d)), np.empty((d, d))
    cov, next_cov, lag_one = np.empty((d, d)), np.empty((d, d)), np.empty((d, d))
    mean, next_mean = np.empty(d), np.empty(d)
    factor, information = np.zeros((d, d)), np.zeros((d, d))
    score, watch = np.zeros(d), np.zeros(d)
    k = inputs.shape[1]
    z = np.zeros(d + 1 + k)
    z[d] = 1.0
    lower, pivots = factor_covs(noise_cov)
    stored = np.count_nonzero(columns)
    last_transition, last_noise = -1, -1
    for s in range(starts.shape[0] - 2, -1, -1):
        end = starts[s + 1] - 1
        if columns[end] > 0:
            return UNRESOLVED, end
        score[:] = 0.0
        information[:, :] = 0.0
        watch[:] = 0.0
        for t in range(end, starts[s] - 1, -1):
            if t == end:
                mean[:] = filtered_means[t]
                cov[:, :] = filtered_covs[t]
            else:
                if transition_index[t] != last_transition or noise_index[t] != last_noise:
                    last_transition, last_noise = transition_index[t], noise_index[t]
                    whiten_rows(lower[last_noise], transition[last_transition], rows)
                if columns[t] > 0:
                    stored -= 1
                    factor[:, :] = factors[stored]
                next_mean[:] = mean
                next_cov[:, :] = cov
                left = step_back(
                    rows,
                    lower[last_noise],
                    pivots[last_noise],
                    filtered_means[t],
                    filtered_covs[t],
                    predicted_means[t + 1],
                    factor,
                    columns[t],
                    next_mean,
                    next_cov,
                    gain,
                    conditional,
                    lag_one,
                    mean,
                    cov,
                    work,
                )
                if left > 0:
                    return UNRESOLVED, t
                grown = growth(gain, cov, t, watch, work)
                if grown > MAX_GROWTH and not is_guarded and columns[t] == 0:
                    return ROUNDED, t
                if is_guarded and columns[t] == 0:
                    g = group_index[t + 1]
                    information_before(
                        reduced_rows[g],
                        reduced[t + 1],
                        reduced_variances[g],
                        reduced_counts[g],
                        predicted_means[t + 1],
                        predicted_covs[t + 1],
                        score,
                        information,
                    )
                    dual_step(
                        transition[last_transition],
                        filtered_means[t],
                        filtered_covs[t],
                        predicted_covs[t + 1],
                        score,
                        information,
                        watch,
                        grown,
                        lag_one,
                        mean,
                        cov,
                    )
            for i in range(d):
                z[i] = mean[i]
            for i in range(k):
                z[d + 1 + i] = inputs[t, i]
            if t < end:
                g = last_noise
                add_transition(
                    transition[last_transition],
                    offset[offset_index[t]],
                    gain,
                    conditional,
                    next_mean,
                    next_cov,
                    z,
                    transition_residual[g],
                    transition_cross[g],
                )
                add_regressor(z, cov, transition_regressor[g])
                transition_count[g] += 1.0
            if t < starts[s] + n_leading:
                continue
            g = group_index[t]
            add_observation(
                values[t],
                group_observed[g],
                observation[observation_index[t]],
                observation_offset[observation_offset_index[t]],
                z,
                cov,
                observation_residual[g],
                observation_cross[g],
            )
            add_regressor(z, cov, observation_regressor[g])
            observation_count[g] += 1.0
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
