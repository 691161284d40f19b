"""Kim's filter and smoother for a linear-Gaussian system whose matrices follow a regime, compiled.

    x[t] = F(z[t]) x[t-1] + b(z[t]) + w,   w ~ N(0, Q(z[t])),
    y[t] = H(z[t]) x[t] + d(z[t]) + v,     v ~ N(0, R(z[t])).

Given the regimes so far the state is Gaussian; given z[t] alone it is a mixture whose terms multiply by K at every row.
Here each mixture is collapsed to one Gaussian with its mean and covariance, one for each z[t]: the one approximation of
the filter; the smoother has that of `weigh_origins` besides. Each row is whitened beforehand by the R of every regime,
so that it comes as scalars with variance 1.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from kalman_em.arrays import Array, IntArray
from kalman_em.compiled import kernel
from kalman_em.inference.small import congruence, factor, solve_rows, times_transposed
from kalman_em.inference.steps import LOG_2PI


class SwitchingSystem(NamedTuple):
    """The matrices of K regimes (K, ...), what each adds on the way to a row (N, K, d), first state, chain."""

    transitions: Array
    drifts: Array
    noise_covs: Array
    initial_mean: Array
    initial_cov: Array
    initial: Array
    moves: Array


class WhitenedRows(NamedTuple):
    """Rows by missing pattern g: h (G, K, p, d), counts (G,), constants (G, K); values (N, K, p) and pattern (N,)."""

    h: Array
    counts: IntArray
    constants: Array
    values: Array
    pattern: IntArray


class SwitchingMoments(NamedTuple):
    """At every row: probabilities (N, K), and means (N, K, d) and covariances (N, K, d, d) of the state by regime."""

    probabilities: Array
    means: Array
    covs: Array


class SwitchingScratch(NamedTuple):
    """Space for one row: pairs of regimes (K, K), (K, K, d), (K, K, d, d), and matrices (6, d, d)."""

    heights: Array
    means: Array
    covs: Array
    square: Array


@kernel
def kim_filter(
    starts: IntArray,
    system: SwitchingSystem,
    rows: WhitenedRows,
    predicted: Array,
    filtered: SwitchingMoments,
    log_likelihoods: Array,
    scratch: SwitchingScratch,
) -> int:
    """Fill `predicted` (N, K), `filtered` and `log_likelihoods` (N,) forwards (Kim 1994, equations 2.5 to 2.12).

    Returns the first row whose observation is impossible, where the run ends, or -1.
    """
    K = system.noise_covs.shape[0]
    heights, means, covs = scratch.heights, scratch.means, scratch.covs
    for s in range(starts.shape[0] - 1):
        for t in range(starts[s], starts[s + 1]):
            is_first = t == starts[s]
            n_old = 1 if is_first else K
            peak = -math.inf
            for j in range(K):
                predicted[t, j] = system.initial[j] if is_first else 0.0
                for i in range(n_old):
                    prior = system.initial[j]
                    if not is_first:
                        prior = filtered.probabilities[t - 1, i] * system.moves[i, j]
                        predicted[t, j] += prior
                    move_state(t, i, j, is_first, system, filtered, means[i, j], covs[i, j], scratch.square[0])
                    log_density = observe_scalars(t, j, rows, means[i, j], covs[i, j], scratch.square[0, 0])
                    heights[i, j] = log_density + math.log(prior) if prior > 0.0 else -math.inf
                    if heights[i, j] > peak:
                        peak = heights[i, j]
            if not -math.inf < peak < math.inf:
                return t
            total = 0.0
            for j in range(K):
                share = 0.0
                for i in range(n_old):
                    heights[i, j] = math.exp(heights[i, j] - peak)
                    share += heights[i, j]
                filtered.probabilities[t, j] = share
                total += share
                collapse(n_old, j, share, scratch, filtered.means[t, j], filtered.covs[t, j])
            log_likelihoods[t] = peak + math.log(total)
            for j in range(K):
                filtered.probabilities[t, j] /= total
    return -1


@kernel
def move_state(
    t: int,
    i: int,
    j: int,
    is_first: bool,
    system: SwitchingSystem,
    filtered: SwitchingMoments,
    mean: Array,
    cov: Array,
    scratch: Array,
) -> None:
    """Fill `mean` and `cov` with the state at row t in regime j, before its observation, if i was the one before."""
    d = mean.shape[0]
    if is_first:
        for a in range(d):
            mean[a] = system.initial_mean[a]
            for b in range(d):
                cov[a, b] = system.initial_cov[a, b]
        return
    for a in range(d):
        total = system.drifts[t, j, a]
        for b in range(d):
            total += system.transitions[j, a, b] * filtered.means[t - 1, i, b]
        mean[a] = total
    congruence(system.transitions[j], filtered.covs[t - 1, i], cov, scratch)
    for a in range(d):
        for b in range(d):
            cov[a, b] += system.noise_covs[j, a, b]


@kernel
def observe_scalars(t: int, j: int, rows: WhitenedRows, mean: Array, cov: Array, moved: Array) -> float:
    """Condition `mean` and `cov` on row t as regime j sees it, one scalar after the other; return the log density."""
    d, g = mean.shape[0], rows.pattern[t]
    log_density: float = rows.constants[g, j]
    for m in range(rows.counts[g]):
        h = rows.h[g, j, m]
        error, spread = rows.values[t, j, m], 1.0
        for a in range(d):
            error -= h[a] * mean[a]
            total = 0.0
            for b in range(d):
                total += cov[a, b] * h[b]
            moved[a] = total
        for a in range(d):
            spread += h[a] * moved[a]
        log_density -= 0.5 * (LOG_2PI + math.log(spread) + error * error / spread)
        for a in range(d):
            mean[a] += moved[a] / spread * error
            for b in range(a + 1):
                cov[a, b] -= moved[a] * moved[b] / spread
                cov[b, a] = cov[a, b]
    return log_density


@kernel
def collapse(n: int, j: int, total: float, scratch: SwitchingScratch, mean: Array, cov: Array) -> None:
    """Fill `mean` and `cov` with those of the mixture over i < n of scratch[i, j], weighted by heights[i, j] / total.

    A regime of no probability gets equal weights: what it holds then counts nowhere, but must be finite.
    """
    d = mean.shape[0]
    for a in range(d):
        mean[a] = 0.0
        for b in range(d):
            cov[a, b] = 0.0
    for i in range(n):
        weight = scratch.heights[i, j] / total if total > 0.0 else 1.0 / n
        for a in range(d):
            mean[a] += weight * scratch.means[i, j, a]
    for i in range(n):
        weight = scratch.heights[i, j] / total if total > 0.0 else 1.0 / n
        for a in range(d):
            for b in range(d):
                off = (scratch.means[i, j, a] - mean[a]) * (scratch.means[i, j, b] - mean[b])
                cov[a, b] += weight * (scratch.covs[i, j, a, b] + off)


@kernel
def kim_smoother(
    starts: IntArray,
    system: SwitchingSystem,
    filtered: SwitchingMoments,
    smoothed: SwitchingMoments,
    sums: tuple[Array, Array, Array, Array, Array, Array],
    scratch: SwitchingScratch,
) -> int:
    """Fill `smoothed` backwards (Kim 1994, equations 2.24 to 2.26) and add to `sums`.

    The probability of where a regime came from is that of `weigh_origins`. `sums` come as zeros: the expected number of
    moves (K, K), and for each regime k moved to Σ x[t] x[t]', Σ x[t+1] x[t]', Σ x[t+1] x[t+1]', Σ x[t] and Σ x[t+1].
    Returns the row at which a predicted covariance is singular, where the run ends, or -1.
    """
    K, d = system.noise_covs.shape[0], system.noise_covs.shape[1]
    counts, before, cross, after, mean_before, mean_after = sums
    gain, ahead_cov, lower, moved, spare = (
        scratch.square[0],
        scratch.square[1],
        scratch.square[2],
        scratch.square[3],
        scratch.square[4],
    )
    ahead = scratch.square[5, 0]
    for s in range(starts.shape[0] - 1):
        end = starts[s + 1] - 1
        for j in range(K):
            smoothed.probabilities[end, j] = filtered.probabilities[end, j]
            for a in range(d):
                smoothed.means[end, j, a] = filtered.means[end, j, a]
                for b in range(d):
                    smoothed.covs[end, j, a, b] = filtered.covs[end, j, a, b]
        for t in range(end - 1, starts[s] - 1, -1):
            for k in range(K):
                if not weigh_origins(t, k, system, filtered, smoothed, scratch):
                    return t + 1
            for j in range(K):
                share = 0.0
                for k in range(K):
                    move_state(t + 1, j, k, False, system, filtered, ahead, ahead_cov, spare)
                    if not factor(ahead_cov, lower):
                        return t + 1
                    # J = P F' (F P F' + Q)^-1
                    times_transposed(filtered.covs[t, j], system.transitions[k], gain)
                    solve_rows(lower, gain)
                    weight = scratch.heights[k, j]
                    mean, cov = scratch.means[k, j], scratch.covs[k, j]
                    for a in range(d):
                        total = filtered.means[t, j, a]
                        for b in range(d):
                            total += gain[a, b] * (smoothed.means[t + 1, k, b] - ahead[b])
                        mean[a] = total
                    for a in range(d):
                        for b in range(d):
                            moved[a, b] = smoothed.covs[t + 1, k, a, b] - ahead_cov[a, b]
                    congruence(gain, moved, cov, spare)
                    times_transposed(smoothed.covs[t + 1, k], gain, moved)  # Cov[x(t+1), x(t)]
                    for a in range(d):
                        mean_before[k, a] += weight * mean[a]
                        mean_after[k, a] += weight * smoothed.means[t + 1, k, a]
                        for b in range(d):
                            cov[a, b] += filtered.covs[t, j, a, b]
                            next_mean = smoothed.means[t + 1, k, a]
                            before[k, a, b] += weight * (cov[a, b] + mean[a] * mean[b])
                            cross[k, a, b] += weight * (moved[a, b] + next_mean * mean[b])
                            own = smoothed.covs[t + 1, k, a, b] + next_mean * smoothed.means[t + 1, k, b]
                            after[k, a, b] += weight * own
                    counts[j, k] += weight
                    share += weight
                smoothed.probabilities[t, j] = share
                collapse(K, j, share, scratch, smoothed.means[t, j], smoothed.covs[t, j])
    return -1


@kernel
def weigh_origins(
    t: int,
    k: int,
    system: SwitchingSystem,
    filtered: SwitchingMoments,
    smoothed: SwitchingMoments,
    scratch: SwitchingScratch,
) -> bool:
    """Fill scratch.heights[k, j] with p(z[t] = j, z[t+1] = k given all data); return whether it could be done.

    As p(z[t+1] = k given all data) times p(z[t] = j given z[t+1] = k, x[t+1], y up to t), taken at the smoothed mean of
    x[t+1]: Barber's expectation correction. Kim leaves x[t+1] out, and so takes a quiet regime for likely where only a
    wild one could have led to what came.

    References
    ----------
    Barber, Expectation correction for smoothed inference in switching linear dynamical systems, JMLR 7 (2006),
    section 3.1.2.
    """
    K, d = system.noise_covs.shape[0], system.noise_covs.shape[1]
    ahead_cov, lower, off = scratch.square[1], scratch.square[2], scratch.square[3, 0]
    ahead = scratch.square[5, 0]
    peak = -math.inf
    for j in range(K):
        prior = filtered.probabilities[t, j] * system.moves[j, k]
        scratch.heights[k, j] = -math.inf
        if not prior > 0.0:
            continue
        move_state(t + 1, j, k, False, system, filtered, ahead, ahead_cov, scratch.square[4])
        if not factor(ahead_cov, lower):
            return False
        height = math.log(prior)
        for a in range(d):
            off[a] = smoothed.means[t + 1, k, a] - ahead[a]
            for b in range(a):
                off[a] -= lower[a, b] * off[b]
            off[a] /= lower[a, a]
            height -= 0.5 * off[a] * off[a] + math.log(lower[a, a])
        scratch.heights[k, j] = height
        if height > peak:
            peak = height
    total = 0.0
    for j in range(K):
        scratch.heights[k, j] = math.exp(scratch.heights[k, j] - peak) if peak > -math.inf else 0.0
        total += scratch.heights[k, j]
    for j in range(K):
        scratch.heights[k, j] *= smoothed.probabilities[t + 1, k] / total if total > 0.0 else 0.0
    return True
