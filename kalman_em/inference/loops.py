"""The batch loops over the rows of all series, compiled: forward (filter) and backward (smoother)."""

from __future__ import annotations

import numpy as np

from kalman_em.arrays import Array, IntArray
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
from kalman_em.inference.steps import (
    empty_work,
    ldl,
    predict_factor,
    predict_step,
    update_step,
    whiten_rows,
)


@compiled
def filter_rows(
    starts: IntArray,
    transition: Array,
    transition_index: IntArray,
    offset: Array,
    offset_index: IntArray,
    noise_cov: Array,
    noise_index: IntArray,
    initial_mean: Array,
    initial_cov: Array,
    initial_factor: Array,
    initial_columns: int,
    values: Array,
    group_index: IntArray,
    rows: Array,
    variances: Array,
    counts: IntArray,
    predicted_means: Array,
    predicted_covs: Array,
    filtered_means: Array,
    filtered_covs: Array,
    log_likelihoods: Array,
    factors: Array,
    columns: IntArray,
) -> int:
    """Run the Kalman filter over every series, filling the last seven arguments.

    `log_likelihoods` comes holding the part of each row that does not depend on the state.

    `columns[t]` is the number of diffuse columns left after row t; where it is not 0 the factor is stored in
    `factors`, one after another in the order of the rows. Returns how many were needed: more than
    `factors` holds means that the caller must come again with more room.
    """
    d = initial_mean.shape[0]
    mean = np.empty(d)
    cov = np.empty((d, d))
    factor = np.zeros((d, d))
    work = empty_work(d)
    stored = 0
    for s in range(starts.shape[0] - 1):
        mean[:] = initial_mean
        cov[:, :] = initial_cov
        factor[:, :] = initial_factor
        n_columns = initial_columns
        for t in range(starts[s], starts[s + 1]):
            if t > starts[s]:
                F = transition[transition_index[t - 1]]
                predict_step(F, offset[offset_index[t - 1]], noise_cov[noise_index[t - 1]], mean, cov, work)
                if n_columns > 0:
                    n_columns = predict_factor(F, factor, n_columns, work)
            predicted_means[t] = mean
            predicted_covs[t] = cov
            g = group_index[t]
            total = log_likelihoods[t]
            for i in range(counts[g]):
                log_density, n_columns = update_step(
                    rows[g, i],
                    values[t, i],
                    variances[g, i],
                    mean,
                    cov,
                    factor,
                    n_columns,
                    predicted_covs[t],
                    work,
                )
                total += log_density
            filtered_means[t] = mean
            filtered_covs[t] = cov
            log_likelihoods[t] = total
            columns[t] = n_columns
            if n_columns > 0:
                if stored < factors.shape[0]:
                    factors[stored] = factor
                stored += 1
    return stored


@compiled
def smooth_rows(
    starts: IntArray,
    transition: Array,
    transition_index: IntArray,
    noise_cov: Array,
    noise_index: IntArray,
    prior_means: Array,
    predicted_means: Array,
    predicted_covs: Array,
    filtered_means: Array,
    filtered_covs: Array,
    factors: Array,
    columns: IntArray,
    values: Array,
    group_index: IntArray,
    rows: Array,
    variances: Array,
    counts: IntArray,
    is_guarded: bool,
    smoothed_means: Array,
    smoothed_covs: Array,
    lag_one_covs: Array,
) -> tuple[int, int]:
    """Run the smoother backwards over every series, filling the last three arguments.

    `lag_one_covs[t]` is Cov[x[t+1], x[t] | all y]; the last row of each series is left as it came. Returns a
    status and a row: UNRESOLVED at the first row met whose state the observations never resolve, or ROUNDED where
    rounding has grown too far: the caller must then come again with `is_guarded`, which carries the dual form too.
    `prior_means` are what `values` are compared with: the predicted means for values of y, 0 for innovations.
    """
    d = filtered_means.shape[1]
    work = empty_work(d)
    gain, conditional, whitened = np.empty((d, d)), np.empty((d, d)), np.empty((d, d))
    factor, information = np.zeros((d, d)), np.zeros((d, d))
    score, watch = np.zeros(d), np.zeros(d)
    lower, pivots = factor_covs(noise_cov)
    stored = np.count_nonzero(columns)
    last_transition, last_noise = -1, -1
    for s in range(starts.shape[0] - 2, -1, -1):
        end = starts[s + 1] - 1
        if columns[end] > 0:
            return UNRESOLVED, end
        smoothed_means[end] = filtered_means[end]
        smoothed_covs[end] = filtered_covs[end]
        score[:] = 0.0
        information[:, :] = 0.0
        watch[:] = 0.0
        for t in range(end - 1, starts[s] - 1, -1):
            if transition_index[t] != last_transition or noise_index[t] != last_noise:
                last_transition, last_noise = transition_index[t], noise_index[t]
                whiten_rows(lower[last_noise], transition[last_transition], whitened)
            if columns[t] > 0:
                stored -= 1
                factor[:, :] = factors[stored]
            left = step_back(
                whitened,
                lower[last_noise],
                pivots[last_noise],
                filtered_means[t],
                filtered_covs[t],
                predicted_means[t + 1],
                factor,
                columns[t],
                smoothed_means[t + 1],
                smoothed_covs[t + 1],
                gain,
                conditional,
                lag_one_covs[t],
                smoothed_means[t],
                smoothed_covs[t],
                work,
            )
            if left > 0:
                return UNRESOLVED, t
            grown = growth(gain, smoothed_covs[t], t, watch, work)
            if grown > MAX_GROWTH and not is_guarded and columns[t] == 0:
                return ROUNDED, t
            if is_guarded and columns[t] == 0:
                g = group_index[t + 1]
                information_before(
                    rows[g],
                    values[t + 1],
                    variances[g],
                    counts[g],
                    prior_means[t + 1],
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
                    lag_one_covs[t],
                    smoothed_means[t],
                    smoothed_covs[t],
                )
    return RESOLVED, 0


@compiled
def factor_covs(covs: Array) -> tuple[Array, Array]:
    """Return L (n, d, d) and D (n, d) of every covariance L D L' of a table."""
    lower = np.zeros(covs.shape)
    pivots = np.zeros(covs.shape[:2])
    for i in range(covs.shape[0]):
        ldl(covs[i], lower[i], pivots[i])
    return lower, pivots
