"""The batch loops over the rows of all series, compiled: forward (filter) and backward (smoother)."""

from __future__ import annotations

import math

from kalman_em.arrays import Array, IntArray
from kalman_em.compiled import kernel
from kalman_em.inference.backward import RESOLVED, UNRESOLVED, begin_series, move_back
from kalman_em.inference.kernel_arrays import BackwardSpace, Filtered, ForwardSpace, GuardSpace, Scalars, Transitions
from kalman_em.inference.numerics import LOST_DIGITS
from kalman_em.inference.roots import is_well_spread, predict_root, root_of, update_root
from kalman_em.inference.steady import forget_pace, has_settled
from kalman_em.inference.steps import (
    LOG_2PI,
    Size,
    copy_matrix,
    copy_vector,
    predict_cov,
    predict_factor,
    predict_mean,
    update_step,
)


@kernel
def filter_rows(
    size: Size,
    starts: IntArray,
    transitions: Transitions,
    scalars: Scalars,
    initial_means: Array,
    initial_covs: Array,
    initial_factor: Array,
    initial_columns: int,
    freezes: bool,
    lossless: float,
    filtered: Filtered,
    log_likelihoods: Array,
    space: ForwardSpace,
) -> tuple[int, int, bool]:
    """Run the Kalman filter over every series, filling `filtered` and adding to `log_likelihoods`.

    `initial_means` and `initial_covs` have one entry for all series, or one each. `log_likelihoods` comes holding the
    part of each row that does not depend on the state. The covariances of row t are entry `filtered.cov_index[t]` of
    their tables: with `freezes`, rows over which they have converged share one. `filtered.columns[t]` is the number of
    diffuse columns left after row t; where it is not 0 the factor is stored in `filtered.factors`, one after another in
    the order of the rows. Returns how many were needed (more than there is room for means that the caller must come
    again with more), the number of entries in the covariance tables, and whether an observation took so much variance
    away that its rounding may count.
    """
    F, F_index, c, c_index, Q, Q_index = transitions
    values, h, variances, counts, group_index, _ = scalars
    predicted_means, predicted_covs, filtered_means, filtered_covs, cov_index, factors, columns = filtered
    mean, cov, factor, gains, spreads, constants, work, pace, root, wide = space
    d = len(size)
    forget_pace(pace)
    stored, last, has_lost = 0, -1, False
    for s in range(starts.shape[0] - 1):
        own = s if initial_means.shape[0] > 1 else 0
        copy_vector(size, initial_means[own], mean)
        copy_matrix(size, initial_covs[own], cov)
        copy_matrix(size, initial_factor, factor)
        n_columns = initial_columns
        # One diffuse direction is resolved by one observation; several may leave large variances that cancel.
        is_rooted = n_columns > 1
        if is_rooted:
            root_of(size, initial_covs[own], root, wide, wide[d])
        is_steady = False
        last_g, last_f, last_q = -1, -1, -1
        for t in range(starts[s], starts[s + 1]):
            g, f, q = group_index[t], -1, -1
            if t > starts[s]:
                f, q = F_index[t - 1], Q_index[t - 1]
                predict_mean(size, F[f], c[c_index[t - 1]], mean, work)
            is_same = g == last_g and f == last_f and q == last_q
            last_g, last_f, last_q = g, f, q
            copy_vector(size, mean, predicted_means[t])
            total = log_likelihoods[t]
            if is_steady and is_same:
                for i in range(counts[g]):
                    error = values[t, i]
                    for j in range(d):
                        error -= h[g, i, j] * mean[j]
                    for j in range(d):
                        mean[j] += gains[i, j] * error
                    total += constants[i] - 0.5 * error * error / spreads[i]
            else:
                if f >= 0:
                    if is_rooted:
                        predict_root(size, F[f], Q[q], root, cov, wide)
                    else:
                        predict_cov(size, F[f], Q[q], cov, work)
                    if n_columns > 0:
                        n_columns = predict_factor(size, F[f], factor, n_columns, work)
                last += 1
                copy_matrix(size, cov, predicted_covs[last])
                is_regular = freezes and n_columns == 0
                for i in range(counts[g]):
                    if is_rooted:
                        log_density, spread, n_columns = update_root(
                            size,
                            h[g, i],
                            values[t, i],
                            variances[g, i],
                            mean,
                            cov,
                            factor,
                            n_columns,
                            gains[i],
                            root,
                            wide,
                            work,
                        )
                    else:
                        log_density, spread, n_columns = update_step(
                            size,
                            h[g, i],
                            values[t, i],
                            variances[g, i],
                            mean,
                            cov,
                            factor,
                            n_columns,
                            predicted_covs[last],
                            lossless,
                            gains[i],
                            work,
                        )
                    total += log_density
                    spreads[i] = spread
                    if spread > LOST_DIGITS * variances[g, i] > 0.0 and d > 1 and not is_rooted:
                        has_lost = True
                    is_regular = is_regular and spread > 0.0
                copy_matrix(size, cov, filtered_covs[last])
                if is_rooted and n_columns == 0:
                    is_rooted = not is_well_spread(size, cov, wide, wide[d])
                is_steady = False
                if is_regular and is_same:
                    is_steady = has_settled(size, filtered_covs[last - 1], cov, pace)
                    if is_steady:
                        for i in range(counts[g]):
                            constants[i] = -0.5 * (LOG_2PI + math.log(spreads[i]))
                else:
                    forget_pace(pace)
            cov_index[t] = last
            copy_vector(size, mean, filtered_means[t])
            log_likelihoods[t] = total
            columns[t] = n_columns
            if n_columns > 0:
                if stored < factors.shape[0]:
                    copy_matrix(size, factor, factors[stored])
                stored += 1
    return stored, last + 1, has_lost


@kernel
def smooth_rows(
    size: Size,
    starts: IntArray,
    transitions: Transitions,
    scalars: Scalars,
    filtered: Filtered,
    guard: GuardSpace | None,
    space: BackwardSpace,
    smoothed_means: Array,
    smoothed_covs: Array,
    lag_one_covs: Array,
) -> tuple[int, int]:
    """Run the smoother backwards over every series, filling the last three arguments; return a status and a row.

    `lag_one_covs[t]` is Cov[x[t+1], x[t] | all y]; the last row of each series is left as it came. A status other
    than RESOLVED is that of `move_back` at the row returned.
    """
    for s in range(starts.shape[0] - 2, -1, -1):
        end = starts[s + 1] - 1
        if filtered.columns[end] > 0:
            return UNRESOLVED, end
        copy_vector(size, filtered.filtered_means[end], smoothed_means[end])
        copy_matrix(size, filtered.filtered_covs[filtered.cov_index[end]], smoothed_covs[end])
        begin_series(size, guard, space)
        for t in range(end - 1, starts[s] - 1, -1):
            status = move_back(
                size,
                t,
                transitions,
                scalars,
                filtered,
                guard,
                space,
                smoothed_means[t + 1],
                smoothed_covs[t + 1],
                smoothed_means[t],
                smoothed_covs[t],
            )
            if status != RESOLVED:
                return status, t
            copy_matrix(size, space.lag_one, lag_one_covs[t])
    return RESOLVED, 0
