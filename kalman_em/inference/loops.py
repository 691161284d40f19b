"""The batch loops over the rows of all series, compiled: forward (filter) and backward (smoother)."""

from __future__ import annotations

import numpy as np

from kalman_em.arrays import Array, IntArray
from kalman_em.compiled import compiled
from kalman_em.inference.backward import RESOLVED, UNRESOLVED, backward_space, begin_series, move_back
from kalman_em.inference.kernel_arrays import Filtered, Scalars, Transitions
from kalman_em.inference.steps import empty_work, predict_factor, predict_step, update_step


@compiled
def filter_rows(
    starts: IntArray,
    transitions: Transitions,
    scalars: Scalars,
    initial_mean: Array,
    initial_cov: Array,
    initial_factor: Array,
    initial_columns: int,
    filtered: Filtered,
    log_likelihoods: Array,
) -> int:
    """Run the Kalman filter over every series, filling `filtered` and adding to `log_likelihoods`.

    `log_likelihoods` comes holding the part of each row that does not depend on the state. `filtered.columns[t]` is
    the number of diffuse columns left after row t; where it is not 0 the factor is stored in `filtered.factors`, one
    after another in the order of the rows. Returns how many were needed: more than there is room for means that
    the caller must come again with more.
    """
    # Unpacked once: numba counts references at every access by name.
    F, F_index, c, c_index, Q, Q_index = transitions
    values, h, variances, counts, group_index, _ = scalars
    predicted_means, predicted_covs, filtered_means, filtered_covs, factors, columns = filtered
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
                f = F_index[t - 1]
                predict_step(F[f], c[c_index[t - 1]], Q[Q_index[t - 1]], mean, cov, work)
                if n_columns > 0:
                    n_columns = predict_factor(F[f], factor, n_columns, work)
            predicted_means[t] = mean
            predicted_covs[t] = cov
            g = group_index[t]
            total = log_likelihoods[t]
            for i in range(counts[g]):
                log_density, n_columns = update_step(
                    h[g, i], values[t, i], variances[g, i], mean, cov, factor, n_columns, predicted_covs[t], work
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
    transitions: Transitions,
    scalars: Scalars,
    filtered: Filtered,
    is_guarded: bool,
    smoothed_means: Array,
    smoothed_covs: Array,
    lag_one_covs: Array,
) -> tuple[int, int]:
    """Run the smoother backwards over every series, filling the last three arguments; return a status and a row.

    `lag_one_covs[t]` is Cov[x[t+1], x[t] | all y]; the last row of each series is left as it came. A status other
    than RESOLVED is that of `move_back` at the row returned.
    """
    space = backward_space(transitions, filtered.columns, filtered.filtered_means.shape[1])
    for s in range(starts.shape[0] - 2, -1, -1):
        end = starts[s + 1] - 1
        if filtered.columns[end] > 0:
            return UNRESOLVED, end
        smoothed_means[end] = filtered.filtered_means[end]
        smoothed_covs[end] = filtered.filtered_covs[end]
        begin_series(space)
        for t in range(end - 1, starts[s] - 1, -1):
            status = move_back(
                t,
                transitions,
                scalars,
                filtered,
                is_guarded,
                space,
                smoothed_means[t + 1],
                smoothed_covs[t + 1],
                smoothed_means[t],
                smoothed_covs[t],
            )
            if status != RESOLVED:
                return status, t
            lag_one_covs[t] = space.lag_one
    return RESOLVED, 0
