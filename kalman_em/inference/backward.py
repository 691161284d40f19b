"""One step back of the smoother, compiled, with a watch on its rounding and a second form for where that grows.

The Rauch-Tung-Striebel step passes V[t+1] through the smoother gain. Directions that no noise enters are then
carried back by the inverse of the transition, and where the transition contracts, rounding grows at every step.
There the dual form (`dual.py`) takes over, and each step uses the form with the smaller bound on its error. Where noise
enters every direction amply, the gain contracts and nothing need be watched (`smoothing_loop.py`).
"""

from __future__ import annotations

import math

from kalman_em.arrays import Array, IntArray
from kalman_em.compiled import inlined, kernel, part
from kalman_em.inference.dual import dual_step, information_before
from kalman_em.inference.gains import (
    GAIN_F,
    GAIN_P,
    GAIN_Q,
    HAS_LOST,
    IS_STEADY,
    IS_WATCHED,
    is_ample,
    new_gain,
)
from kalman_em.inference.kernel_arrays import (
    LAST_SIGN,
    BackwardSpace,
    Filtered,
    GuardSpace,
    Scalars,
    Smoothed,
    Spreads,
    Transitions,
)
from kalman_em.inference.numerics import LOST_DIGITS, LOST_IN_SMOOTHING
from kalman_em.inference.spreads import spread_of_step
from kalman_em.inference.steady import has_settled
from kalman_em.inference.steady_means import smooth_steady
from kalman_em.inference.steps import Size, clear, copy_matrix, copy_vector, smoothed_cov

# The plain form is given up where rounding may have grown by this factor (an error of 1e-11 of a variance).
MAX_GROWTH = 5e4
# A smoothed variance above this many filtered ones, and this part of the predicted one, is rounding.
MORE, LITTLE = 1.0 + 1e-9, 1e-12
RESOLVED, UNRESOLVED, ROUNDED, NO_ROOM, AMPLE, SCARCE = 0, 1, 2, 3, 4, 5
# After so many rows in the general form it is asked whether noise is ample again.
PATIENCE = 32


@kernel
def smooth_generally(
    size: Size,
    s: int,
    t: int,
    entry: int,
    starts: IntArray,
    n_leading: int,
    transitions: Transitions,
    scalars: Scalars,
    filtered: Filtered,
    guard: GuardSpace | None,
    can_be_plain: bool,
    keeps: bool,
    space: BackwardSpace,
    spreads: Spreads,
    means: Array,
    initial_covs: Array,
    smoothed: Smoothed,
) -> tuple[int, int, int, int]:
    """Go back from row t of series s; return a status, and where to go on: see `smooth_rows` and `smooth_plainly`.

    The status is AMPLE where `can_be_plain` and noise has been found ample again, at every `PATIENCE` rows.
    """
    place, cov, n_rows = space.place, spreads.cov, 0
    while s >= 0:
        first, end = starts[s], starts[s + 1] - 1
        while t >= first:
            if keeps and entry == 0:
                return NO_ROOM, s, t, entry
            stop = t - 1
            if t == end:
                if filtered.columns[end] > 0:
                    return UNRESOLVED, s, t, entry
                begin_series(size, guard, space)
                copy_vector(size, filtered.filtered_means[end], means[end])
                copy_matrix(size, filtered.filtered_covs[filtered.cov_index[end]], cov)
                clear(size, space.lag_one)
            else:
                n_rows += 1
                f, q = transitions.matrix_index[t], transitions.noise_index[t]
                if can_be_plain and n_rows % PATIENCE == 0 and filtered.columns[t] == 0:
                    predicted_cov = filtered.predicted_covs[filtered.cov_index[t + 1]]
                    if is_ample(
                        size, predicted_cov, space.pivots[q], space.lossless[0], space.factor, space.deviations
                    ):
                        return AMPLE, s, t, entry
                copy_matrix(size, cov, spreads.next_cov)
                status = move_back(
                    size,
                    t,
                    transitions,
                    scalars,
                    filtered,
                    guard,
                    space,
                    means[t + 1],
                    spreads.next_cov,
                    means[t],
                    cov,
                )
                if status == RESOLVED and place[IS_STEADY] == 1:
                    stop = run_behind(t - 1, first, place[GAIN_P], place[GAIN_F], place[GAIN_Q], transitions, filtered)
                    if not watch_holds(size, t - 1, stop, space):
                        status = ROUNDED
                    smooth_steady(
                        size,
                        t - 1,
                        stop,
                        space.gain,
                        filtered.predicted_means,
                        filtered.filtered_means,
                        means,
                        space.work,
                    )
                    place[IS_STEADY] = 0
                if status != RESOLVED:
                    return status, s, t, entry
                if not keeps:
                    spread_of_step(
                        size, float(t - stop), transitions.matrix[f], space.gain, space.conditional, q, spreads
                    )
            entry -= 1
            write_row(size, entry, t, stop, first + n_leading, keeps, cov, space.lag_one, scalars, smoothed, spreads)
            t = stop
        end_series(s, space)
        if not keeps:
            copy_matrix(size, cov, initial_covs[s])
        s, t = s - 1, first - 1
    return RESOLVED, s, t, entry


@inlined
def begin_series(size: Size, guard: GuardSpace | None, space: BackwardSpace) -> None:
    """Forget the later observations: a series ends here."""
    for i in range(len(size)):
        space.watch[i] = 0.0
    if guard is not None:
        for i in range(len(size)):
            guard.score[i] = 0.0
        clear(size, guard.information)
    space.place[GAIN_P], space.place[GAIN_F], space.place[GAIN_Q] = -1, -1, -1
    space.place[IS_STEADY], space.place[IS_WATCHED] = 0, 1


@inlined
def end_series(s: int, space: BackwardSpace) -> None:
    """Note whether series s has lost too many digits, and forget it for the next."""
    if space.place[HAS_LOST] == 1:
        space.lost[s] = 1
    space.place[HAS_LOST] = 0


@inlined
def write_row(
    size: Size,
    entry: int,
    t: int,
    stop: int,
    first_observed: int,
    keeps: bool,
    cov: Array,
    lag_one: Array,
    scalars: Scalars,
    smoothed: Smoothed,
    spreads: Spreads,
) -> None:
    """Write an entry of the tables, for the rows from t down to after `stop`, or add it to the sums by group."""
    if keeps:
        for r in range(stop + 1, t + 1):
            smoothed.cov_index[r] = entry
        for i in range(len(size)):
            for j in range(len(size)):
                smoothed.covs[entry, i, j] = cov[i, j]
                smoothed.lag_one_covs[entry, i, j] = lag_one[i, j]
    elif t >= first_observed:
        n, g = float(t - max(stop, first_observed - 1)), scalars.group_index[t]
        for i in range(len(size)):
            for j in range(len(size)):
                spreads.observed_covs[g, i, j] += n * cov[i, j]


@inlined
def move_back(
    size: Size,
    t: int,
    transitions: Transitions,
    scalars: Scalars,
    filtered: Filtered,
    guard: GuardSpace | None,
    space: BackwardSpace,
    next_mean: Array,
    next_cov: Array,
    mean: Array,
    cov: Array,
) -> int:
    """Fill `mean` and `cov` with the smoothed moments of row t from those of row t+1; return a status.

    Leaves the smoother gain, Cov[x[t] | x[t+1], y[0..t]] and Cov[x[t+1], x[t] | all y] in `space`. `place[IS_STEADY]`
    is 1 where filter and smoother have converged. UNRESOLVED: later observations do not determine x[t]. ROUNDED:
    rounding has grown too far, and the pass must begin anew with a `guard`, which carries the dual form beside this.
    """
    place = space.place
    k = filtered.cov_index[t]
    is_diffuse = filtered.columns[t] > 0
    is_same = (
        k == place[GAIN_P]
        and transitions.matrix_index[t] == place[GAIN_F]
        and transitions.noise_index[t] == place[GAIN_Q]
        and not is_diffuse
    )
    if not is_same and not new_gain(size, t, transitions, filtered, next_cov, space):
        return UNRESOLVED
    move_mean(
        size, space.gain, filtered.filtered_means[t], filtered.predicted_means[t + 1], next_mean, mean, space.work
    )
    smoothed_cov(size, space.gain, next_cov, space.conditional, space.lag_one, cov)
    if place[IS_WATCHED] == 0:
        begin_watch(size, next_cov, space)
    measure(size, cov, space)
    if has_vanished(size, filtered.filtered_covs[k], cov) and not is_diffuse:
        place[HAS_LOST] = 1
    if is_same and guard is None and has_settled(size, next_cov, cov, space.pace):
        place[IS_STEADY] = 1
    grown = growth(size, space.gain, space.deviations, space.precisions, space.signs, t, space.watch, space.work)
    if is_diffuse:
        if grown > LOST_IN_SMOOTHING or have_cancelled(size, space.work[space.work.shape[0] - 1], cov):
            place[HAS_LOST] = 1
        return RESOLVED
    # More data never leave more variance: where they seem to, it is rounding, whatever the watch says.
    for i in range(len(size)):
        if cov[i, i] > MORE * filtered.filtered_covs[k, i, i] + LITTLE * filtered.predicted_covs[k, i, i]:
            grown = math.inf
    if guard is None:
        return ROUNDED if grown > MAX_GROWTH else RESOLVED
    guarded_step(size, t, transitions, scalars, filtered, guard, space, grown, mean, cov)
    return RESOLVED


@inlined
def has_vanished(size: Size, filtered_cov: Array, cov: Array) -> bool:
    """Whether later observations took nearly all of a variance, or seem to leave less than 0."""
    is_lost = False
    for i in range(len(size)):
        is_lost = is_lost or (filtered_cov[i, i] > LOST_IN_SMOOTHING * cov[i, i] and cov[i, i] != 0.0)
    return is_lost


@inlined
def have_cancelled(size: Size, peaks: Array, cov: Array) -> bool:
    """Whether smoothed variances are rounding of the `peaks` that they came from, or below 0."""
    is_lost = False
    for i in range(len(size)):
        is_lost = is_lost or cov[i, i] < 0.0 or peaks[i] > LOST_DIGITS * cov[i, i] > 0.0
    return is_lost


@inlined
def move_mean(
    size: Size, gain: Array, filtered_mean: Array, predicted_mean: Array, next_mean: Array, mean: Array, work: Array
) -> None:
    """Fill `mean` with m + G (E[x[t+1]] - m[t+1] predicted)."""
    d = len(size)
    for j in range(d):
        work[0, j] = next_mean[j] - predicted_mean[j]
    for i in range(d):
        total = filtered_mean[i]
        for j in range(d):
            total += gain[i, j] * work[0, j]
        mean[i] = total


@part
def guarded_step(
    size: Size,
    t: int,
    transitions: Transitions,
    scalars: Scalars,
    filtered: Filtered,
    guard: GuardSpace,
    space: BackwardSpace,
    grown: float,
    mean: Array,
    cov: Array,
) -> None:
    """Carry the dual form back to row t, and use it where its error is below the one `grown` in the plain form."""
    g = scalars.group_index[t + 1]
    predicted_cov = filtered.predicted_covs[filtered.cov_index[t + 1]]
    information_before(
        size,
        scalars.h[g],
        scalars.values[t + 1],
        scalars.variances[g],
        scalars.counts[g],
        scalars.prior_means[t + 1],
        predicted_cov,
        guard,
    )
    rounding = dual_step(
        size,
        transitions.matrix[transitions.matrix_index[t]],
        filtered.filtered_means[t],
        filtered.filtered_covs[filtered.cov_index[t]],
        predicted_cov,
        guard,
        space.watch,
        grown,
        space.lag_one,
        mean,
        cov,
    )
    if rounding > LOST_IN_SMOOTHING:
        space.place[HAS_LOST] = 1


@inlined
def run_behind(t: int, first: int, k: int, f: int, q: int, transitions: Transitions, filtered: Filtered) -> int:
    """Return the last row from `t` down, or that before `first`, to which covariance k, F and Q do not belong."""
    while (
        t >= first
        and filtered.cov_index[t] == k
        and transitions.matrix_index[t] == f
        and transitions.noise_index[t] == q
    ):
        t -= 1
    return t


@inlined
def begin_watch(size: Size, cov: Array, space: BackwardSpace) -> None:
    """Begin to watch with an error as large as the standard deviation: what came before was not watched."""
    for i in range(len(size)):
        space.watch[i] = space.signs[0, i] * math.sqrt(max(cov[i, i], 0.0))
    space.place[IS_WATCHED] = 1


@inlined
def measure(size: Size, cov: Array, space: BackwardSpace) -> None:
    """Keep the standard deviations and the inverse variances of `cov`: the units of the watch."""
    for i in range(len(size)):
        variance = max(cov[i, i], 0.0)
        space.deviations[i] = math.sqrt(variance)
        space.precisions[i] = 1.0 / variance if variance > 0.0 else 0.0


@part
def watch_holds(size: Size, t: int, stop: int, space: BackwardSpace) -> bool:
    """Carry the watch over rows from `t` down to after `stop`, over which the gain stays; return whether it holds.

    The signs repeat. Once their period by period effect on the watch has halved twice, the gain contracts whatever is
    in the watch, and what follows is no larger.
    """
    d = len(size)
    last, change, n_halved = space.work[2], math.inf, 0
    for i in range(d):
        last[i] = space.watch[i]
    for r in range(t, stop, -1):
        grown = growth(size, space.gain, space.deviations, space.precisions, space.signs, r, space.watch, space.work)
        if grown > MAX_GROWTH:
            return False
        if (t - r) & LAST_SIGN == LAST_SIGN:
            moved = 0.0
            for i in range(d):
                moved = max(moved, abs(space.watch[i] - last[i]) * math.sqrt(space.precisions[i]))
                last[i] = space.watch[i]
            n_halved = n_halved + 1 if moved <= 0.5 * change else 0
            if moved == 0.0 or n_halved == 3:
                return True
            change = moved
    return True


@part
def growth(
    size: Size,
    gain: Array,
    deviations: Array,
    precisions: Array,
    signs: Array,
    step: int,
    watch: Array,
    work: Array,
) -> float:
    """Carry the watch one step back and return its largest square in units of the variances.

    The watch w is a vector of errors, each fresh one as large as the standard deviation: w[t] = G w[t+1] + signs
    times sd. Its square over the variance is the factor by which rounding of a covariance may have grown.
    """
    d = len(size)
    for i in range(d):
        total = 0.0
        for j in range(d):
            total += gain[i, j] * watch[j]
        work[0, i] = total
    largest = 0.0
    for i in range(d):
        watch[i] = work[0, i] + signs[step & LAST_SIGN, i] * deviations[i]
        largest = max(largest, watch[i] * watch[i] * precisions[i])
    return largest
