"""The backward loop of EM, compiled: smooths, and adds up the covariances as it goes, keeping no T of them."""

from __future__ import annotations

from kalman_em.arrays import Array, IntArray
from kalman_em.compiled import kernel
from kalman_em.inference.backward import (
    RESOLVED,
    ROUNDED,
    UNRESOLVED,
    begin_series,
    move_back,
    run_behind,
    watch_holds,
)
from kalman_em.inference.gains import IS_PLAIN, IS_STEADY
from kalman_em.inference.kernel_arrays import BackwardSpace, Filtered, GuardSpace, Scalars, Spreads, Transitions
from kalman_em.inference.spreads import add_cov, add_spread, settle_spread, spread_of_step
from kalman_em.inference.steady_means import smooth_steady
from kalman_em.inference.steps import Size, copy_matrix, copy_vector


@kernel
def expect_rows(
    size: Size,
    starts: IntArray,
    n_leading: int,
    transitions: Transitions,
    scalars: Scalars,
    filtered: Filtered,
    guard: GuardSpace | None,
    space: BackwardSpace,
    spreads: Spreads,
    smoothed_means: Array,
    initial_covs: Array,
) -> tuple[int, int]:
    """Fill the smoothed means of every series and the first covariance of each, and add up the others.

    What is added up is Cov[e], Cov[e, x[t]] and Cov[x[t]] for the errors e = x[t+1] - F x[t] - c of the transitions, by
    distinct Q, and Cov[x[t]] by group of the observations, without the leading rows. Of the symmetric sums the lower
    triangles are filled. Returns a status and a row, as `smooth_rows` does.
    """
    cov, next_cov, place = spreads.cov, spreads.next_cov, space.place
    for s in range(starts.shape[0] - 2, -1, -1):
        end, first = starts[s + 1] - 1, starts[s] + n_leading
        if filtered.columns[end] > 0:
            return UNRESOLVED, end
        begin_series(size, guard, space)
        copy_vector(size, filtered.filtered_means[end], smoothed_means[end])
        copy_matrix(size, filtered.filtered_covs[filtered.cov_index[end]], cov)
        t, stop = end, end - 1
        while True:
            # The rows from t down to after `stop` share their covariances.
            n_observed = t - max(stop, first - 1)
            if n_observed > 0:
                add_cov(size, float(n_observed), cov, spreads.observed_covs[scalars.group_index[t]])
            t = stop
            if t < starts[s]:
                break
            copy_matrix(size, cov, next_cov)
            stop = t - 1
            if place[IS_STEADY] == 1:
                behind = run_behind(t, first, space, transitions, filtered)
                if behind < stop:
                    if not watch_holds(size, t, behind, space):
                        return ROUNDED, t
                    stop = behind
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
            if stop == t - 1:
                status = move_back(
                    size,
                    t,
                    transitions,
                    scalars,
                    filtered,
                    guard,
                    space,
                    smoothed_means[t + 1],
                    next_cov,
                    smoothed_means[t],
                    cov,
                )
                if status != RESOLVED:
                    return status, t
            f, q = transitions.matrix_index[t], transitions.noise_index[t]
            if place[IS_PLAIN] == 1:
                if f != place[-2] or q != place[-1]:
                    settle_spread(size, transitions.matrix, place, spreads)
                    place[-2], place[-1] = f, q
                add_spread(size, float(t - stop), space.lag_one, spreads)
            else:
                spread_of_step(size, float(t - stop), transitions.matrix[f], space.gain, space.conditional, q, spreads)
        copy_matrix(size, cov, initial_covs[s])
    settle_spread(size, transitions.matrix, place, spreads)
    return RESOLVED, 0
