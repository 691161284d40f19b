"""The backward loop over the rows of all series where noise is ample, compiled; elsewhere `backward.py` has it.

Smoothed moments are kept, or added up for EM. The step is done in registers where the number of states is known.
"""

from __future__ import annotations

from kalman_em.arrays import Array, IntArray
from kalman_em.compiled import contracted, inlined, local
from kalman_em.inference.backward import (
    AMPLE,
    NO_ROOM,
    RESOLVED,
    SCARCE,
    UNRESOLVED,
    end_series,
    has_vanished,
    run_behind,
    smooth_generally,
    write_row,
)
from kalman_em.inference.gains import GAIN_P, HAS_LOST, IS_STEADY, IS_WATCHED, WHITE_F, plain_cov, plain_gain
from kalman_em.inference.kernel_arrays import (
    BackwardSpace,
    Filtered,
    GuardSpace,
    Scalars,
    Smoothed,
    Spreads,
    Transitions,
)
from kalman_em.inference.sizes import sized, wide
from kalman_em.inference.spreads import settle_spread
from kalman_em.inference.steady import forget_pace, has_settled
from kalman_em.inference.steady_means import smooth_steady
from kalman_em.inference.steps import Size
from kalman_em.vectors import add_multiple, multiply


def smooth_rows(
    starts: IntArray,
    n_leading: int,
    transitions: Transitions,
    scalars: Scalars,
    filtered: Filtered,
    guard: GuardSpace | None,
    keeps: bool,
    space: BackwardSpace,
    spreads: Spreads,
    means: Array,
    initial_covs: Array,
    smoothed: Smoothed,
) -> tuple[int, int, int]:
    """Run the smoother backwards over every series, filling `means` and the first covariance of each.

    With `keeps` the covariances go to `smoothed`, tables filled from their end; the lag-one entry of row t is
    Cov[x[t+1], x[t] | all y], 0 at the last row of each series. Without, they are added up in `spreads`: Cov[e],
    Cov[e, x[t]] and Cov[x[t]] for the errors e = x[t+1] - F x[t] - c of the transitions, by distinct Q, and Cov[x[t]]
    by group of the observations, without the leading rows; of the symmetric sums the lower triangles count. Returns
    RESOLVED or what went wrong, the row, and the first entry of the tables in use.
    """
    d = means.shape[1]
    s, t, entry = len(starts) - 2, int(starts[-1]) - 1, len(smoothed.covs)
    can_be_plain = guard is None and space.lossless[0] < 1.0
    status = AMPLE if can_be_plain else SCARCE
    while status in (AMPLE, SCARCE):
        where = (s, t, entry, starts, n_leading, transitions, scalars, filtered)
        what = (keeps, space, spreads, means, initial_covs, smoothed)
        if status == AMPLE:
            status, s, t, entry = smooth_plainly(sized(d), *where, *what)
        else:
            status, s, t, entry = smooth_generally(wide(d), *where, guard, can_be_plain, *what)
    return status, t, entry


@contracted
def smooth_plainly(
    size: Size,
    s: int,
    t: int,
    entry: int,
    starts: IntArray,
    n_leading: int,
    transitions: Transitions,
    scalars: Scalars,
    filtered: Filtered,
    keeps: bool,
    space: BackwardSpace,
    spreads: Spreads,
    means: Array,
    initial_covs: Array,
    smoothed: Smoothed,
) -> tuple[int, int, int, int]:
    """Go back from row t of series s as long as gains are plain; return a status, and where to go on.

    The covariance of row t+1 comes, and goes, in `spreads.cov`.
    """
    d = len(size)
    cov, next_cov, lag_one = local(size, spreads.cov), local(size, spreads.next_cov), local(size, space.lag_one)
    turned_gain, moved = local(size, space.gain), local(size, space.moved)
    change, mean_change = local(size, space.conditional), local(size, space.precisions)
    upper, pivots = local(size, space.factor), local(size, space.deviations)
    covs, next_covs = local(size, spreads.covs), local(size, spreads.next_covs)
    lag_one_covs = local(size, spreads.lag_one_covs)
    for i in range(d):
        for j in range(d):
            cov[i, j] = spreads.cov[i, j]
            covs[i, j], next_covs[i, j], lag_one_covs[i, j] = 0.0, 0.0, 0.0
    status, summed_f, summed_q = RESOLVED, -1, -1
    while s >= 0:
        first, end = starts[s], starts[s + 1] - 1
        k, f, q = -1, -1, -1
        while t >= first:
            if keeps and entry == 0:
                return NO_ROOM, s, t, entry
            stop = t - 1
            if t == end:
                if filtered.columns[end] > 0:
                    status = UNRESOLVED
                    break
                last = filtered.cov_index[end]
                for i in range(d):
                    means[end, i] = filtered.filtered_means[end, i]
                    for j in range(d):
                        cov[i, j], lag_one[i, j] = filtered.filtered_covs[last, i, j], 0.0
            else:
                is_same = (
                    filtered.cov_index[t] == k and transitions.matrix_index[t] == f and transitions.noise_index[t] == q
                )
                k, f, q = filtered.cov_index[t], transitions.matrix_index[t], transitions.noise_index[t]
                if not is_same:
                    forget_pace(space.pace)
                    if filtered.columns[t] > 0 or not plain_gain(
                        size,
                        transitions.matrix[f],
                        filtered.filtered_covs[k],
                        filtered.predicted_covs[filtered.cov_index[t + 1]],
                        space.pivots[q],
                        space.lossless[0],
                        turned_gain,
                        moved,
                        upper,
                        pivots,
                    ):
                        status = SCARCE
                        break
                for i in range(d):
                    mean_change[i] = means[t + 1, i] - filtered.predicted_means[t + 1, i]
                    for j in range(d):
                        next_cov[i, j] = cov[i, j]
                multiply(size, filtered.filtered_means[t], mean_change, turned_gain, means[t])
                if not isinstance(size, tuple):
                    for i in range(d):
                        means[t, i] = filtered.filtered_means[t, i]
                    for j in range(d):
                        for i in range(d):
                            means[t, i] += turned_gain[j, i] * mean_change[j]
                plain_cov(size, filtered.filtered_covs[k], moved, turned_gain, next_cov, change, lag_one, cov)
                if has_vanished(size, filtered.filtered_covs[k], cov):
                    space.place[HAS_LOST] = 1
                if is_same:
                    for i in range(d):
                        for j in range(d):
                            spreads.next_cov[i, j], spreads.cov[i, j] = next_cov[i, j], cov[i, j]
                    if has_settled(size, spreads.next_cov, spreads.cov, space.pace):
                        stop = run_behind(t - 1, first, k, f, q, transitions, filtered)
                        for i in range(d):
                            for j in range(d):
                                space.whitened[i, j] = turned_gain[j, i]
                        space.place[WHITE_F] = -1
                        smooth_steady(
                            size,
                            t - 1,
                            stop,
                            space.whitened,
                            filtered.predicted_means,
                            filtered.filtered_means,
                            means,
                            space.work,
                        )
                # What the general form knows of its last step is of no use behind this one.
                space.place[GAIN_P], space.place[IS_STEADY], space.place[IS_WATCHED] = -1, 0, 0
                if not keeps:
                    if f != summed_f or q != summed_q:
                        settle(size, summed_f, summed_q, transitions, covs, next_covs, lag_one_covs, spreads)
                        summed_f, summed_q = f, q
                    n = float(t - stop)
                    add_multiple(size, 1.0, next_cov, next_covs)
                    add_multiple(size, n - 1.0, cov, next_covs)
                    add_multiple(size, n, cov, covs)
                    add_multiple(size, n, lag_one, lag_one_covs)
                    if not isinstance(size, tuple):
                        for i in range(d):
                            for j in range(d):
                                next_covs[i, j] += next_cov[i, j] + (n - 1.0) * cov[i, j]
                                covs[i, j] += n * cov[i, j]
                                lag_one_covs[i, j] += n * lag_one[i, j]
            entry -= 1
            write_row(size, entry, t, stop, first + n_leading, keeps, cov, lag_one, scalars, smoothed, spreads)
            t = stop
        if status != RESOLVED:
            break
        end_series(s, space)
        if not keeps:
            for i in range(d):
                for j in range(d):
                    initial_covs[s, i, j] = cov[i, j]
        s, t = s - 1, first - 1
    for i in range(d):
        for j in range(d):
            spreads.cov[i, j] = cov[i, j]
    settle(size, summed_f, summed_q, transitions, covs, next_covs, lag_one_covs, spreads)
    return status, s, t, entry


@inlined
def settle(
    size: Size,
    f: int,
    q: int,
    transitions: Transitions,
    covs: Array,
    next_covs: Array,
    lag_one_covs: Array,
    spreads: Spreads,
) -> None:
    """Add what was summed over rows with F and Q of entries f and q, if any, to the sums of EM, and begin anew."""
    if f >= 0:
        for i in range(len(size)):
            for j in range(len(size)):
                spreads.covs[i, j], spreads.next_covs[i, j] = covs[i, j], next_covs[i, j]
                spreads.lag_one_covs[i, j] = lag_one_covs[i, j]
        # An int64 for sure: a first value known to the compiler would be a type of its own.
        settle_spread(size, transitions.matrix[f], q + 0, spreads)
        for i in range(len(size)):
            for j in range(len(size)):
                covs[i, j], next_covs[i, j], lag_one_covs[i, j] = 0.0, 0.0, 0.0
