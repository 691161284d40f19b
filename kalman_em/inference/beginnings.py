"""The rows over which a diffuse start is not over yet, compiled: the filter begins with them.

They are few, so that one compilation serves any number of states.
"""

from __future__ import annotations

from kalman_em.arrays import Array, IntArray
from kalman_em.compiled import kernel, part
from kalman_em.inference.kernel_arrays import Begun, Filtered, ForwardSpace, Roots, Scalars, Transitions
from kalman_em.inference.numerics import LOST_DIGITS, LOST_IN_NOISE
from kalman_em.inference.roots import is_well_spread, predict_root, root_of, update_root
from kalman_em.inference.steady import forget_pace, has_settled
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
def begin_rows(
    size: Size,
    starts: IntArray,
    transitions: Transitions,
    scalars: Scalars,
    leftover: Array,
    initial_factor: Array,
    initial_columns: int,
    freezes: bool,
    lossless: float,
    keeps: bool,
    roots: Roots | None,
    filtered: Filtered,
    log_likelihoods: Array,
    space: ForwardSpace,
    begun: Begun,
) -> tuple[int, int]:
    """Filter every series until nothing of its state is diffuse; `begun` holds its initial moments, then those there.

    With `roots` the covariance is carried as a root, and on until P keeps its digits or has converged: one diffuse
    direction is resolved by one observation, but several may leave large variances that cancel. Otherwise as
    `filter_rows`. Returns how many factors and covariances were needed.
    """
    mean, cov, factor, d = space.mean, space.cov, space.factor, len(size)
    stored, last = 0, -1
    for s in range(starts.shape[0] - 1):
        copy_vector(size, begun.means[s], mean)
        copy_matrix(size, begun.covs[s], cov)
        copy_matrix(size, initial_factor, factor)
        forget_pace(space.pace)
        if roots is not None:
            root_of(size, begun.covs[s], roots.root, roots.wide, roots.wide[d])
        n_columns, t, is_over, g = initial_columns, starts[s], False, -1
        while t < starts[s + 1] and not is_over:
            before = last if keeps else last & 1
            last += 1
            entry, row = (last, t) if keeps else (last & 1, 0)
            if entry >= filtered.predicted_covs.shape[0]:
                return stored, entry + 1
            is_same = t > starts[s] + 1 and scalars.group_index[t] == g and n_columns == 0
            g = scalars.group_index[t]
            if t > starts[s]:
                f, q = transitions.matrix_index[t - 1], transitions.noise_index[t - 1]
                if t > starts[s] + 1:
                    is_same = is_same and transitions.matrix_index[t - 2] == f and transitions.noise_index[t - 2] == q
                offset = transitions.offset[transitions.offset_index[t - 1]]
                predict_mean(size, transitions.matrix[f], offset, mean, space.work)
                if roots is not None:
                    predict_root(size, transitions.matrix[f], transitions.noise_cov[q], roots.root, cov, roots.wide)
                else:
                    predict_cov(size, transitions.matrix[f], transitions.noise_cov[q], cov, space.work)
                if n_columns > 0:
                    n_columns, is_unsure = predict_factor(size, transitions.matrix[f], factor, n_columns, space.work)
                    if is_unsure:
                        begun.lost[s] = 1
            copy_vector(size, mean, filtered.predicted_means[row])
            copy_matrix(size, cov, filtered.predicted_covs[entry])
            log_density, n_columns, is_informed, is_lossy = observe_diffuse(
                size, t, g, scalars, n_columns, filtered.predicted_covs[entry], lossless, roots, space
            )
            if is_lossy or has_shrunk(size, filtered.predicted_covs[entry], cov):
                begun.lost[s] = 1
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
            is_over = n_columns == 0
            if roots is not None and is_over:
                is_over = is_well_spread(size, cov, roots.wide, roots.wide[d])
                if not (freezes and is_informed and is_same):
                    forget_pace(space.pace)
                elif has_settled(size, filtered.filtered_covs[before], cov, space.pace):
                    is_over, begun.settled[s] = True, 1
        begun.rows[s] = t
        copy_vector(size, mean, begun.means[s])
        copy_matrix(size, cov, begun.covs[s])
    return stored, last + 1


@part
def observe_diffuse(
    size: Size,
    t: int,
    g: int,
    scalars: Scalars,
    n_columns: int,
    predicted_cov: Array,
    lossless: float,
    roots: Roots | None,
    space: ForwardSpace,
) -> tuple[float, int, bool, bool]:
    """Condition the state in `space` on the scalars of row t.

    Returns their log density, the diffuse columns left, whether every scalar told something of the regular part, and
    whether rounding may have taken too many digits.
    """
    total, is_informed, is_lossy = 0.0, True, False
    for i in range(scalars.counts[g]):
        h, value, variance, gain = scalars.h[g, i], scalars.values[t, i], scalars.variances[g, i], space.gains[i]
        mean, cov, factor, work = space.mean, space.cov, space.factor, space.work
        if roots is not None:
            log_density, spread, n_columns, is_unsure = update_root(
                size, h, value, variance, mean, cov, factor, n_columns, gain, roots.root, roots.wide, work
            )
        else:
            log_density, spread, n_columns, is_unsure = update_step(
                size, h, value, variance, mean, cov, factor, n_columns, predicted_cov, lossless, gain, work
            )
        total += log_density
        is_informed = is_informed and spread > 0.0
        is_lossy = (
            is_lossy or is_unsure or (roots is None and spread > LOST_IN_NOISE * variance > 0.0 and len(size) > 1)
        )
    return total, n_columns, is_informed, is_lossy


@part
def has_shrunk(size: Size, predicted_cov: Array, cov: Array) -> bool:
    """Whether an observation took more of a variance than leaves it its digits, or more than all."""
    is_lossy = False
    for i in range(len(size)):
        # To 0 itself is no loss: what is known without error is known.
        before, after = predicted_cov[i, i], cov[i, i]
        if after < 0.0 or before > LOST_DIGITS * after > 0.0:
            is_lossy = True
    return is_lossy
