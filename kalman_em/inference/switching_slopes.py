"""The slope of Kim's approximate log-likelihood in every entry of every matrix, compiled: one pass back over the rows.

The filter of `kalman_em.inference.switching_loops` taken backwards, by the chain rule (reverse differentiation): what
the log-likelihood gains from a change of the moments at row t is known from the rows behind it, and tells what it gains
from a change at t - 1, and of the matrices in between. It costs a few filters, however many matrices there are.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from kalman_em.arrays import Array, IntArray
from kalman_em.compiled import kernel
from kalman_em.inference.small import congruence, factor, solve_rows, times, times_transposed
from kalman_em.inference.steps import LOG_2PI
from kalman_em.inference.switching_loops import SwitchingMoments, SwitchingSystem, move_state


class SeenRows(NamedTuple):
    """Rows less the level of each regime (N, K, p), their missing pattern (N,), its observed columns (G, p), how many.

    And what every regime sees: matrices (K, p, d) and noise covariances (K, p, p).
    """

    errors: Array
    pattern: IntArray
    columns: IntArray
    counts: IntArray
    matrices: Array
    noise_covs: Array


class SwitchingSlopes(NamedTuple):
    """The slope in each of these; in drift and level by row and regime, (N, K, d) and (N, K, p)."""

    transitions: Array
    drifts: Array
    noise_covs: Array
    matrices: Array
    levels: Array
    observation_covs: Array
    initial_mean: Array
    initial_cov: Array
    initial: Array
    moves: Array


class SlopeScratch(NamedTuple):
    """Space for one row: pairs of regimes (K, K, ...), what is handed back (2, K, ...), and matrices.

    `heights`, `weights` (K, K); `before`, `means` (K, K, d); `before_covs`, `covs` (K, K, d, d); `crossed`
    (K, K, d, p), `precisions` (K, K, p, p), `pulls` (K, K, p); `middles` (K, d), `gains` (K,); `shares`
    (2, K), `slopes` (2, K, d), `cov_slopes` (2, K, d, d); `square` (4, d, d), `wide` (3, p, d), `tall`
    (2, d, p), `small` (5, p, p).
    """

    heights: Array
    weights: Array
    before: Array
    before_covs: Array
    means: Array
    covs: Array
    crossed: Array
    precisions: Array
    pulls: Array
    middles: Array
    gains: Array
    shares: Array
    slopes: Array
    cov_slopes: Array
    square: Array
    wide: Array
    tall: Array
    small: Array


def slope_scratch(K: int, d: int, p: int) -> SlopeScratch:
    """Return the space that `kim_slopes` needs."""
    shapes = (
        *((K, K), (K, K), (K, K, d), (K, K, d, d), (K, K, d), (K, K, d, d), (K, K, d, p), (K, K, p, p), (K, K, p)),
        *((K, d), (K,), (2, K), (2, K, d), (2, K, d, d), (4, d, d), (3, p, d), (2, d, p), (5, p, p)),
    )
    return SlopeScratch(*(np.empty(shape) for shape in shapes))


@kernel
def kim_slopes(
    starts: IntArray,
    system: SwitchingSystem,
    rows: SeenRows,
    filtered: SwitchingMoments,
    found: SwitchingSlopes,
    scratch: SlopeScratch,
) -> int:
    """Add the slopes to `found`, which comes as zeros; `filtered` is the output of Kim's filter.

    Returns the row at which a predicted covariance of the observation is singular, where the run ends, or -1.
    """
    K = system.noise_covs.shape[0]
    shares, slopes, cov_slopes = scratch.shares, scratch.slopes, scratch.cov_slopes
    for s in range(starts.shape[0] - 1):
        shares[:], slopes[:], cov_slopes[:] = 0.0, 0.0, 0.0
        here = 0
        for t in range(starts[s + 1] - 1, starts[s] - 1, -1):
            is_first = t == starts[s]
            n_old = 1 if is_first else K
            if not update_pairs(t, n_old, is_first, system, rows, filtered, scratch):
                return t
            weigh_pairs(n_old, here, scratch)
            there = 1 - here
            shares[there], slopes[there], cov_slopes[there] = 0.0, 0.0, 0.0
            for j in range(K):
                for i in range(n_old):
                    if scratch.weights[i, j] > 0.0:
                        hand_back(t, i, j, is_first, here, system, rows, filtered, found, scratch)
            here = there
    return -1


@kernel
def update_pairs(
    t: int,
    n_old: int,
    is_first: bool,
    system: SwitchingSystem,
    rows: SeenRows,
    filtered: SwitchingMoments,
    scratch: SlopeScratch,
) -> bool:
    """Fill the moments of the state at row t for every pair of regimes, before and after its observation, and heights.

    With A = P H', W = (H A + R)^-1 and u = W (y - H m) these are m + A u and P - A W A'.
    """
    K, d, g = system.noise_covs.shape[0], system.noise_covs.shape[1], rows.pattern[t]
    q = rows.counts[g]
    H, spread, lower = scratch.wide[0, :q], scratch.small[0, :q, :q], scratch.small[1, :q, :q]
    off = scratch.small[2, 0]
    for j in range(K):
        seen_matrix(j, g, rows, H)
        for i in range(n_old):
            prior = system.initial[j] if is_first else filtered.probabilities[t - 1, i] * system.moves[i, j]
            scratch.heights[i, j] = -math.inf
            mean, cov = scratch.before[i, j], scratch.before_covs[i, j]
            move_state(t, i, j, is_first, system, filtered, mean, cov, scratch.square[0])
            A, W, u = scratch.crossed[i, j, :, :q], scratch.precisions[i, j, :q, :q], scratch.pulls[i, j]
            times_transposed(cov, H, A)
            times(H, A, spread)
            for a in range(q):
                off[a] = rows.errors[t, j, rows.columns[g, a]]
                for b in range(d):
                    off[a] -= H[a, b] * mean[b]
                for b in range(q):
                    spread[a, b] += rows.noise_covs[j, rows.columns[g, a], rows.columns[g, b]]
                    W[a, b] = 1.0 if a == b else 0.0
            if not factor(spread, lower):
                return False
            solve_rows(lower, W)
            height = math.log(prior) if prior > 0.0 else -math.inf
            for a in range(q):
                u[a] = 0.0
                for b in range(q):
                    u[a] += W[a, b] * off[b]
                height -= 0.5 * (LOG_2PI + u[a] * off[a]) + math.log(lower[a, a])
            scratch.heights[i, j] = height
            congruence(A, W, scratch.covs[i, j], scratch.tall[0, :, :q])
            for a in range(d):
                scratch.means[i, j, a] = mean[a]
                for b in range(q):
                    scratch.means[i, j, a] += A[a, b] * u[b]
                for b in range(d):
                    scratch.covs[i, j, a, b] = cov[a, b] - scratch.covs[i, j, a, b]
    return True


@kernel
def seen_matrix(j: int, g: int, rows: SeenRows, out: Array) -> None:
    """Fill `out` (q, d) with the rows of H of regime j that pattern g sees."""
    for a in range(out.shape[0]):
        for b in range(out.shape[1]):
            out[a, b] = rows.matrices[j, rows.columns[g, a], b]


@kernel
def weigh_pairs(n_old: int, here: int, scratch: SlopeScratch) -> None:
    """Replace the height of each pair by the slope in it; fill the weights of pairs, and the means they collapse to.

    A height moves the log-likelihood, the probabilities of the regimes, and the weights of the mixtures.
    """
    K, d = scratch.heights.shape[1], scratch.means.shape[2]
    heights, weights, shares = scratch.heights, scratch.weights, scratch.shares
    peak, total, mean_share = -math.inf, 0.0, 0.0
    for j in range(K):
        for i in range(n_old):
            peak = max(peak, heights[i, j])
    for j in range(K):
        for i in range(n_old):
            heights[i, j] = math.exp(heights[i, j] - peak)
            total += heights[i, j]
    for j in range(K):
        for i in range(n_old):
            heights[i, j] /= total
            mean_share += heights[i, j] * shares[here, j]
    for j in range(K):
        share, middle, average = 0.0, scratch.middles[j], 0.0
        for i in range(n_old):
            share += heights[i, j]
        for i in range(n_old):
            weights[i, j] = heights[i, j] / share if share > 0.0 else 0.0
        for a in range(d):
            middle[a] = 0.0
            for i in range(n_old):
                middle[a] += weights[i, j] * scratch.means[i, j, a]
        for i in range(n_old):
            gain = 0.0
            for a in range(d):
                off = scratch.means[i, j, a] - middle[a]
                gain += scratch.slopes[here, j, a] * off
                for b in range(d):
                    own = scratch.covs[i, j, a, b] + off * (scratch.means[i, j, b] - middle[b])
                    gain += scratch.cov_slopes[here, j, a, b] * own
            scratch.gains[i] = gain
            average += weights[i, j] * gain
        for i in range(n_old):
            heights[i, j] *= 1.0 + shares[here, j] - mean_share
            heights[i, j] += weights[i, j] * (scratch.gains[i] - average)


@kernel
def hand_back(
    t: int,
    i: int,
    j: int,
    is_first: bool,
    here: int,
    system: SwitchingSystem,
    rows: SeenRows,
    filtered: SwitchingMoments,
    found: SwitchingSlopes,
    scratch: SlopeScratch,
) -> None:
    """Add what the pair of regimes i, j at row t says of the slopes in the matrices, and in the moments at t - 1."""
    d, g = system.noise_covs.shape[1], rows.pattern[t]
    q = rows.counts[g]
    mean_slope, cov_slope = scratch.square[0, 0], scratch.square[1]
    weight = scratch.weights[i, j]
    for a in range(d):
        mean_slope[a] = scratch.slopes[here, j, a]
        for b in range(d):
            off = scratch.means[i, j, b] - scratch.middles[j, b]
            mean_slope[a] += 2.0 * scratch.cov_slopes[here, j, a, b] * off
            cov_slope[a, b] = weight * scratch.cov_slopes[here, j, a, b]
        mean_slope[a] *= weight
    if q > 0:
        unsee(t, i, j, rows, found, scratch)
    there = 1 - here
    if is_first:
        found.initial[j] += scratch.heights[i, j] / system.initial[j]
        for a in range(d):
            found.initial_mean[a] += mean_slope[a]
            for b in range(d):
                found.initial_cov[a, b] += cov_slope[a, b]
        return
    F, cov = system.transitions[j], filtered.covs[t - 1, i]
    scratch.shares[there, i] += scratch.heights[i, j] / filtered.probabilities[t - 1, i]
    found.moves[i, j] += scratch.heights[i, j] / system.moves[i, j]
    turned, moved = scratch.square[2], scratch.square[3]
    times(cov_slope, F, turned)
    times(turned, cov, moved)
    for a in range(d):
        found.drifts[t, j, a] += mean_slope[a]
        for b in range(d):
            found.transitions[j, a, b] += mean_slope[a] * filtered.means[t - 1, i, b] + 2.0 * moved[a, b]
            found.noise_covs[j, a, b] += cov_slope[a, b]
            scratch.slopes[there, i, a] += F[b, a] * mean_slope[b]
            for c in range(d):
                scratch.cov_slopes[there, i, a, b] += F[c, a] * turned[c, b]


@kernel
def unsee(t: int, i: int, j: int, rows: SeenRows, found: SwitchingSlopes, scratch: SlopeScratch) -> None:
    """Turn the slopes in the moments after row t, in scratch.square[0, 0] and [1], into those before it.

    With v = y - H m and S = H P H' + R the update is m + A u and P - A W A', u = W v, and its log density
    -(log|S| + v' u) / 2.
    """
    d, g = scratch.before.shape[2], rows.pattern[t]
    q = rows.counts[g]
    mean_slope, cov_slope, height = scratch.square[0, 0], scratch.square[1], scratch.heights[i, j]
    A, W, u = scratch.crossed[i, j, :, :q], scratch.precisions[i, j, :q, :q], scratch.pulls[i, j]
    H, gain, turned, crossed = scratch.wide[0, :q], scratch.tall[0, :, :q], scratch.tall[1, :, :q], scratch.wide[1, :q]
    spread_slope, pulled, error_slope = scratch.small[0, :q, :q], scratch.small[2, 0], scratch.small[3, 0]
    own = scratch.small[4, 0]
    seen_matrix(j, g, rows, H)
    times(A, W, gain)
    times(cov_slope, gain, turned)
    for a in range(q):
        own[a] = 0.0
        for c in range(d):
            own[a] += A[c, a] * mean_slope[c]
    for a in range(q):
        pulled[a] = 0.0
        for b in range(q):
            pulled[a] += W[a, b] * own[b]
        error_slope[a] = pulled[a] - height * u[a]
    for a in range(q):
        for b in range(q):
            total = 0.5 * (height * (u[a] * u[b] - W[a, b]) - pulled[a] * u[b] - u[a] * pulled[b])
            for c in range(d):
                total += gain[c, a] * turned[c, b]
            spread_slope[a, b] = total
            found.observation_covs[j, rows.columns[g, a], rows.columns[g, b]] += total
    # The slope in A, (q, d) ...
    for a in range(q):
        for b in range(d):
            crossed[a, b] = mean_slope[b] * u[a] - 2.0 * turned[b, a]
    mean, cov = scratch.before[i, j], scratch.before_covs[i, j]
    for a in range(q):
        column = rows.columns[g, a]
        found.levels[t, j, column] -= error_slope[a]
        for b in range(d):
            total = -error_slope[a] * mean[b]
            for c in range(q):
                total += 2.0 * spread_slope[a, c] * A[b, c]
            for c in range(d):
                total += crossed[a, c] * cov[c, b]
            found.matrices[j, column, b] += total
    # ... and in P: H' S H + the symmetric part of A H.
    seen = scratch.wide[2, :q]
    times(spread_slope, H, seen)
    for a in range(d):
        for c in range(q):
            mean_slope[a] -= H[c, a] * error_slope[c]
        for b in range(d):
            for c in range(q):
                cov_slope[a, b] += H[c, a] * seen[c, b]
                cov_slope[a, b] += 0.5 * (crossed[c, a] * H[c, b] + H[c, a] * crossed[c, b])
