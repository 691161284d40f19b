"""The filter over the rows of all series, compiled: with the state in registers where its size is known."""

from __future__ import annotations

import math

from kalman_em.arrays import Array, IntArray
from kalman_em.compiled import contracted, inlined, local
from kalman_em.inference.kernel_arrays import Begun, Filtered, ForwardSpace, Scalars, Transitions
from kalman_em.inference.numerics import LOST_DIGITS, LOST_IN_NOISE
from kalman_em.inference.steady import forget_pace, has_settled
from kalman_em.inference.steady_means import filter_steady, run_ahead
from kalman_em.inference.steps import CANCELLED, CANCELLED_SQUARE, LOG_2PI, Size, joseph
from kalman_em.vectors import multiply, subtract_square

# Spreads are multiplied, and their logarithm taken, as long as the product is in these bounds.
LEAST, MOST = 1e-100, 1e100
# Rows alike before it is asked whether the covariances have converged: with scattered gaps there are seldom more.
A_WHILE = 3


@contracted
def filter_rows(
    size: Size,
    starts: IntArray,
    begun: Begun,
    transitions: Transitions,
    scalars: Scalars,
    leftover: Array,
    freezes: bool,
    lossless: float,
    keeps: bool,
    last: int,
    filtered: Filtered,
    log_likelihoods: Array,
    space: ForwardSpace,
) -> int:
    """Run the Kalman filter over what is left of every series, filling `filtered` and `log_likelihoods`.

    `begun` says where that begins and what is known there: the moments after the row before or, at the first row of a
    series, of its initial state, with one entry for all series or one each. Nothing is diffuse any more. `leftover` is
    the part of each row's log-likelihood that does not depend on the state; of no length where there is none. The
    covariances of row t are entry `filtered.cov_index[t]` of their tables, whose entries up to `last` are taken: with
    `freezes`, rows over which they have converged share one. `begun.lost` says of every series whether an observation
    took so much variance away that its rounding may count. Returns how many covariances were needed (more than there is
    room for means that the caller must come again with more). Without `keeps` nothing is kept but the sum of the
    log-likelihoods of each series.
    """
    d = len(size)
    mean, cov = local(size, space.mean), local(size, space.cov)
    gain, work, turned = local(size, space.ahead), local(size, space.work), local(size, space.factor)
    turned_f = -1
    for s in range(starts.shape[0] - 1):
        own = s if begun.means.shape[0] > 1 else 0
        for i in range(d):
            mean[i] = begun.means[own, i]
            for j in range(d):
                cov[i, j] = begun.covs[own, i, j]
        t, first, end = begun.rows[s], starts[s], starts[s + 1]
        g, f, q, n_alike = -1, -1, -1, 0
        is_settled, has_lost = begun.settled[s] == 1, begun.lost[s] == 1
        if is_settled:
            g = scalars.group_index[t - 1]
            f, q = transitions.matrix_index[t - 2], transitions.noise_index[t - 2]
        while t < end:
            before = last if keeps else last & 1
            last += 1
            entry, row = (last, t) if keeps else (last & 1, 0)
            if entry >= filtered.predicted_covs.shape[0]:
                return entry + 1
            is_same = scalars.group_index[t] == g
            g = scalars.group_index[t]
            if t > first:
                is_same = is_same and transitions.matrix_index[t - 1] == f and transitions.noise_index[t - 1] == q
                f, q = transitions.matrix_index[t - 1], transitions.noise_index[t - 1]
                if isinstance(size, tuple) and f != turned_f:
                    turned_f = f
                    for i in range(d):
                        for j in range(d):
                            turned[j, i] = transitions.matrix[f, i, j]
                move_on(size, t, f, q, transitions, mean, cov, gain, work, turned)
            for i in range(d):
                filtered.predicted_means[row, i] = mean[i]
                for j in range(d):
                    filtered.predicted_covs[entry, i, j] = cov[i, j]
            log_density, is_informed, is_lossy = observe_row(
                size, t, g, scalars, filtered.predicted_covs[entry], lossless, mean, cov, gain, space
            )
            for i in range(d):
                # To 0 itself is no loss: what is known without error is known.
                was, left = filtered.predicted_covs[entry, i, i], cov[i, i]
                is_lossy = is_lossy or left < 0.0 or was > LOST_DIGITS * left > 0.0
                filtered.filtered_means[row, i] = mean[i]
                for j in range(d):
                    filtered.filtered_covs[entry, i, j] = cov[i, j]
            has_lost = has_lost or is_lossy
            if leftover.shape[0] > 0:
                log_density += leftover[t]
            if keeps:
                filtered.cov_index[t] = entry
                log_likelihoods[t] = log_density
            else:
                log_likelihoods[s] += log_density
            t += 1
            n_alike = n_alike + 1 if freezes and is_informed and is_same else 0
            if n_alike == A_WHILE:
                forget_pace(space.pace)
            if (is_settled and n_alike > 0) or (
                n_alike >= A_WHILE
                and has_settled(size, filtered.filtered_covs[before], filtered.filtered_covs[entry], space.pace)
            ):
                stop = run_ahead(t, end, f, q, g, transitions, scalars)
                if stop > t:
                    for i in range(d):
                        space.mean[i] = mean[i]
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
                    for i in range(d):
                        mean[i] = space.mean[i]
                    t = stop
            is_settled = False
        if has_lost:
            begun.lost[s] = 1
    return last + 1


@inlined
def move_on(
    size: Size,
    t: int,
    f: int,
    q: int,
    transitions: Transitions,
    mean: Array,
    cov: Array,
    moved: Array,
    work: Array,
    turned: Array,
) -> None:
    """Move mean and cov to row t, in place: F m + c and F P F' + Q; `turned` is F' where d is known."""
    d = len(size)
    F, Q, offset = transitions.matrix[f], transitions.noise_cov[q], transitions.offset[transitions.offset_index[t - 1]]
    if isinstance(size, tuple):
        multiply(size, offset, mean, turned, mean)
        multiply(size, None, F, cov, work)
        multiply(size, Q, work, turned, cov)
        for i in range(d):
            for j in range(i):
                cov[j, i] = cov[i, j]
        return
    for i in range(d):
        total = offset[i]
        for j in range(d):
            total += F[i, j] * mean[j]
        moved[i] = total
    for i in range(d):
        mean[i] = moved[i]
        for j in range(d):
            total = 0.0
            for k in range(d):
                total += F[i, k] * cov[k, j]
            work[i, j] = total
    for i in range(d):
        for j in range(i + 1):
            total = Q[i, j]
            for k in range(d):
                total += work[i, k] * F[j, k]
            cov[i, j] = total
            cov[j, i] = total


@inlined
def observe_row(
    size: Size,
    t: int,
    g: int,
    scalars: Scalars,
    reference: Array,
    lossless: float,
    mean: Array,
    cov: Array,
    gain: Array,
    space: ForwardSpace,
) -> tuple[float, bool, bool]:
    """Condition mean and cov on the scalars of row t; leave their gains and spreads in `space`.

    Returns their log density, whether every scalar told something, and whether rounding may have taken too many
    digits. `reference` is the covariance before them, the size against which rounding is judged.
    """
    d = len(size)
    total, is_informed, is_lossy = 0.0, True, False
    n_told, product = 0.0, 1.0
    for i in range(scalars.counts[g]):
        variance, error = scalars.variances[g, i], scalars.values[t, i]
        spread = variance
        multiply(size, None, scalars.h[g, i], cov, gain)
        for j in range(d):
            if not isinstance(size, tuple):
                entry = 0.0
                for k in range(d):
                    entry += cov[j, k] * scalars.h[g, i, k]
                gain[j] = entry
            spread += scalars.h[g, i, j] * gain[j]
            error -= scalars.h[g, i, j] * mean[j]
        if variance <= 0.0:
            scale = 0.0
            for j in range(d):
                for k in range(d):
                    scale += abs(scalars.h[g, i, j] * reference[j, k] * scalars.h[g, i, k])
            if spread <= CANCELLED_SQUARE * scale:
                spread = 0.0
        space.spreads[i] = spread
        if spread <= 0.0:
            extent = abs(scalars.values[t, i])
            for j in range(d):
                extent += abs(scalars.h[g, i, j] * mean[j])
                space.gains[i, j] = 0.0
            total += 0.0 if abs(error) <= CANCELLED * extent else -math.inf
            is_informed = False
            continue
        inverse = 1.0 / spread
        for j in range(d):
            space.gains[i, j] = gain[j] * inverse
        if variance > lossless * spread:
            subtract_square(size, gain, inverse, cov)
            if not isinstance(size, tuple):
                for j in range(d):
                    for k in range(j + 1):
                        entry = cov[j, k] - gain[j] * inverse * gain[k]
                        cov[j, k] = entry
                        cov[k, j] = entry
        else:
            for j in range(d):
                for k in range(d):
                    space.cov[j, k] = cov[j, k]
            joseph(size, scalars.h[g, i], space.gains[i], variance, space.cov, space.work[1])
            for j in range(d):
                for k in range(d):
                    cov[j, k] = space.cov[j, k]
        for j in range(d):
            mean[j] += gain[j] * inverse * error
        total -= 0.5 * error * error * inverse
        n_told += 1.0
        product *= spread
        if not LEAST < product < MOST:
            total -= 0.5 * math.log(product)
            product = 1.0
        seen = 0.0
        for j in range(d):
            seen += scalars.h[g, i, j] * scalars.h[g, i, j] * reference[j, j]
        is_lossy = is_lossy or ((spread > LOST_IN_NOISE * variance > 0.0 or seen > LOST_DIGITS * spread) and d > 1)
    return total - 0.5 * (n_told * LOG_2PI + math.log(product)), is_informed, is_lossy
