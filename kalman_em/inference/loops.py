"""The batch loops over the rows of all series, compiled: forward (filter) and backward (smoother)."""

from __future__ import annotations

from kalman_em.arrays import Array, IntArray
from kalman_em.compiled import inlined, kernel
from kalman_em.inference.backward import (
    NO_ROOM,
    RESOLVED,
    ROUNDED,
    UNRESOLVED,
    begin_series,
    move_back,
    run_behind,
    watch_holds,
)
from kalman_em.inference.gains import IS_STEADY
from kalman_em.inference.kernel_arrays import BackwardSpace, Filtered, ForwardSpace, GuardSpace, Scalars, Transitions
from kalman_em.inference.numerics import LOST_DIGITS
from kalman_em.inference.roots import is_well_spread, predict_root, root_of, update_root
from kalman_em.inference.steady import forget_pace, has_settled
from kalman_em.inference.steady_means import filter_steady, run_ahead, smooth_steady
from kalman_em.inference.steps import (
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
    leftover: Array,
    initial_means: Array,
    initial_covs: Array,
    initial_factor: Array,
    initial_columns: int,
    freezes: bool,
    lossless: float,
    keeps: bool,
    filtered: Filtered,
    log_likelihoods: Array,
    space: ForwardSpace,
) -> tuple[int, int, bool]:
    """Run the Kalman filter over every series, filling `filtered` and `log_likelihoods`.

    `initial_means` and `initial_covs` have one entry for all series, or one each. `leftover` is the part of each row's
    log-likelihood that does not depend on the state; of no length where there is none. The covariances of row t are
    entry `filtered.cov_index[t]` of their tables: with `freezes`, rows over which they have converged share one.
    `filtered.columns[t]` is the number of diffuse columns left after row t, and comes as zeros; where it is not 0 the
    factor is stored in `filtered.factors`, one after another in the order of the rows. Returns how many factors and
    covariances were needed (more than there is room for means that the caller must come again with more), and whether
    an observation took so much variance away that its rounding may count. Without `keeps` nothing is kept but the sum
    of the log-likelihoods of each series.
    """
    d = len(size)
    mean, cov, factor = space.mean, space.cov, space.factor
    room = filtered.predicted_covs.shape[0]
    forget_pace(space.pace)
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
            root_of(size, initial_covs[own], space.root, space.wide, space.wide[d])
        g, f, q = -1, -1, -1
        t, end = starts[s], starts[s + 1]
        while t < end:
            before = last if keeps else last & 1
            last += 1
            entry, row = (last, t) if keeps else (last & 1, 0)
            if entry >= room:
                return stored, entry + 1, has_lost
            is_same = scalars.group_index[t] == g
            g = scalars.group_index[t]
            if t > starts[s]:
                is_same = is_same and transitions.matrix_index[t - 1] == f and transitions.noise_index[t - 1] == q
                f, q = transitions.matrix_index[t - 1], transitions.noise_index[t - 1]
                c = transitions.offset_index[t - 1]
                predict_mean(size, transitions.matrix[f], transitions.offset[c], mean, space.work)
                if is_rooted:
                    predict_root(size, transitions.matrix[f], transitions.noise_cov[q], space.root, cov, space.wide)
                else:
                    predict_cov(size, transitions.matrix[f], transitions.noise_cov[q], cov, space.work)
                if n_columns > 0:
                    n_columns = predict_factor(size, transitions.matrix[f], factor, n_columns, space.work)
            else:
                is_same = False
            copy_vector(size, mean, filtered.predicted_means[row])
            copy_matrix(size, cov, filtered.predicted_covs[entry])
            is_regular = freezes and n_columns == 0
            log_density, n_columns, is_informed, is_lossy = observe_row(
                size, t, g, scalars, n_columns, filtered.predicted_covs[entry], is_rooted, lossless, space
            )
            has_lost = has_lost or is_lossy
            if is_rooted and n_columns == 0:
                is_rooted = not is_well_spread(size, cov, space.wide, space.wide[d])
            if leftover.shape[0] > 0:
                log_density += leftover[t]
            copy_vector(size, mean, filtered.filtered_means[row])
            copy_matrix(size, cov, filtered.filtered_covs[entry])
            if keeps:
                filtered.cov_index[t] = entry
                log_likelihoods[t] = log_density
            else:
                log_likelihoods[s] += log_density
            if n_columns > 0:
                if stored < filtered.factors.shape[0]:
                    copy_matrix(size, factor, filtered.factors[stored])
                    filtered.columns[t] = n_columns
                stored += 1
            t += 1
            if not (is_regular and is_informed and is_same):
                forget_pace(space.pace)
            elif has_settled(size, filtered.filtered_covs[before], cov, space.pace):
                stop = run_ahead(t, end, f, q, g, transitions, scalars)
                if stop > t:
                    log_density = filter_steady(
                        size,
                        t,
                        stop,
                        f,
                        g,
                        entry,
                        keeps,
                        transitions,
                        scalars,
                        leftover,
                        filtered,
                        log_likelihoods,
                        space,
                    )
                    if not keeps:
                        log_likelihoods[s] += log_density
                    t = stop
    return stored, last + 1, has_lost


@inlined
def observe_row(
    size: Size,
    t: int,
    g: int,
    scalars: Scalars,
    n_columns: int,
    predicted_cov: Array,
    is_rooted: bool,
    lossless: float,
    space: ForwardSpace,
) -> tuple[float, int, bool, bool]:
    """Condition the state in `space` on the scalars of row t; leave their gains and spreads there.

    Returns their log density, the diffuse columns left, whether every scalar told something of the regular part, and
    whether rounding may have taken too many digits.
    """
    total, is_informed, is_lossy = 0.0, True, False
    for i in range(scalars.counts[g]):
        h, value, variance, gain = scalars.h[g, i], scalars.values[t, i], scalars.variances[g, i], space.gains[i]
        mean, cov, factor, work = space.mean, space.cov, space.factor, space.work
        if is_rooted:
            log_density, spread, n_columns = update_root(
                size, h, value, variance, mean, cov, factor, n_columns, gain, space.root, space.wide, work
            )
        else:
            log_density, spread, n_columns = update_step(
                size, h, value, variance, mean, cov, factor, n_columns, predicted_cov, lossless, gain, work
            )
        total += log_density
        space.spreads[i] = spread
        is_informed = is_informed and spread > 0.0
        if spread > LOST_DIGITS * variance > 0.0 and len(size) > 1 and not is_rooted:
            is_lossy = True
    for i in range(len(size)):
        # To 0 itself is no loss: what is known without error is known.
        before, after = predicted_cov[i, i], space.cov[i, i]
        if after < 0.0 or before > LOST_DIGITS * after > 0.0:
            is_lossy = True
    return total, n_columns, is_informed, is_lossy


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
    cov_index: IntArray,
) -> tuple[int, int]:
    """Run the smoother backwards over every series, filling the last four arguments; return a status and a number.

    `smoothed_covs` and `lag_one_covs` are tables, filled from their end; `cov_index` says which entry holds at every
    row. The lag-one entry of row t is Cov[x[t+1], x[t] | all y], 0 at the last row of each series. The number is that
    of the first entry in use, or with a status other than RESOLVED, that of `move_back`, the row it belongs to.
    """
    d = len(size)
    entry = smoothed_covs.shape[0]
    for s in range(starts.shape[0] - 2, -1, -1):
        end = starts[s + 1] - 1
        if filtered.columns[end] > 0:
            return UNRESOLVED, end
        entry -= 1
        if entry < 0:
            return NO_ROOM, end
        cov_index[end] = entry
        copy_vector(size, filtered.filtered_means[end], smoothed_means[end])
        copy_matrix(size, filtered.filtered_covs[filtered.cov_index[end]], smoothed_covs[entry])
        for i in range(d):
            for j in range(d):
                lag_one_covs[entry, i, j] = 0.0
        begin_series(size, guard, space)
        t = end - 1
        while t >= starts[s]:
            entry -= 1
            if entry < 0:
                return NO_ROOM, t
            cov_index[t] = entry
            status = move_back(
                size,
                t,
                transitions,
                scalars,
                filtered,
                guard,
                space,
                smoothed_means[t + 1],
                smoothed_covs[entry + 1],
                smoothed_means[t],
                smoothed_covs[entry],
            )
            if status != RESOLVED:
                return status, t
            copy_matrix(size, space.lag_one, lag_one_covs[entry])
            t -= 1
            if space.place[IS_STEADY] == 1:
                stop = run_behind(t, starts[s], space, transitions, filtered)
                if not watch_holds(size, t, stop, space):
                    return ROUNDED, t
                smooth_steady(
                    size,
                    t,
                    stop,
                    space.gain,
                    filtered.predicted_means,
                    filtered.filtered_means,
                    smoothed_means,
                    space.work[0],
                )
                for r in range(stop + 1, t + 1):
                    cov_index[r] = entry
                t = stop
    return RESOLVED, entry
