"""Forward, backward and the most probable path over regimes, compiled: in logarithms, where nothing underflows.

Histories of regimes are numbered as in `regime_loops`.
"""

from __future__ import annotations

import math

from kalman_em.arrays import Array, IntArray, ShortArray
from kalman_em.compiled import inlined, kernel


@inlined
def add_logs(first: float, second: float) -> float:
    """Return log(exp(first) + exp(second))."""
    high = first if first > second else second
    low = second if first > second else first
    return high if low == -math.inf else high + math.log1p(math.exp(low - high))


@kernel
def filter_logs(
    starts: IntArray,
    log_densities: Array,
    log_initial: Array,
    log_transition: Array,
    predicted: Array,
    filtered: Array,
    log_likelihoods: Array,
) -> int:
    """Run the filter of `filter_scaled`; `predicted` and `filtered` are filled with logarithms.

    Returns the first row whose observation no regime allows, where the run ends, or -1.
    """
    n, n_regimes = log_initial.shape[0], log_transition.shape[0]
    lead = n // n_regimes
    for s in range(starts.shape[0] - 1):
        for t in range(starts[s], starts[s + 1]):
            for j in range(n):
                predicted[t, j] = log_initial[j] if t == starts[s] else -math.inf
            if t > starts[s]:
                for i in range(n):
                    if filtered[t - 1, i] > -math.inf:
                        for k in range(n_regimes):
                            step = log_transition[i // lead, k]
                            if step > -math.inf:
                                j = k * lead + i // n_regimes
                                predicted[t, j] = add_logs(predicted[t, j], filtered[t - 1, i] + step)
            total = -math.inf
            for j in range(n):
                joint = -math.inf
                if predicted[t, j] > -math.inf:
                    joint = predicted[t, j] + log_densities[t, j]
                    if not joint < math.inf:
                        return t
                filtered[t, j] = joint
                total = add_logs(total, joint)
            if not total > -math.inf:
                return t
            log_likelihoods[t] = total
            for j in range(n):
                filtered[t, j] -= total
    return -1


@kernel
def smooth_logs(
    starts: IntArray,
    log_transition: Array,
    predicted: Array,
    filtered: Array,
    smoothed: Array,
    counts: Array,
) -> None:
    """Run back as `smooth_scaled` does, over logarithms, which fill `smoothed`; `counts` are numbers."""
    n, n_regimes = filtered.shape[1], log_transition.shape[0]
    lead = n // n_regimes
    for s in range(starts.shape[0] - 1):
        end = starts[s + 1] - 1
        if end < starts[s]:
            continue
        for j in range(n):
            smoothed[end, j] = filtered[end, j]
        for t in range(end - 1, starts[s] - 1, -1):
            total = -math.inf
            for i in range(n):
                share, latest = -math.inf, i // lead
                if filtered[t, i] > -math.inf:
                    for k in range(n_regimes):
                        j = k * lead + i // n_regimes
                        if log_transition[latest, k] > -math.inf and smoothed[t + 1, j] > -math.inf:
                            move = log_transition[latest, k] + smoothed[t + 1, j] - predicted[t + 1, j]
                            share = add_logs(share, move)
                            counts[latest, k] += math.exp(filtered[t, i] + move)
                    share += filtered[t, i]
                smoothed[t, i] = share
                total = add_logs(total, share)
            for i in range(n):
                smoothed[t, i] -= total


@kernel
def follow_best(
    starts: IntArray,
    log_densities: Array,
    log_initial: Array,
    log_transition: Array,
    came_from: ShortArray,
    heights: Array,
    path: IntArray,
    log_joints: Array,
) -> int:
    """Find the most probable path of every series (Viterbi 1967), filling `path` and `log_joints`, one entry a series.

    `path` holds histories; of equals the first wins. `came_from` (N, n) and `heights` (2, n) are scratch space. Returns
    the first row that no path allows, where the run ends, or -1.
    """
    n, n_regimes = log_initial.shape[0], log_transition.shape[0]
    lead = n // n_regimes
    for s in range(starts.shape[0] - 1):
        if starts[s] == starts[s + 1]:
            continue
        now = 0
        for t in range(starts[s], starts[s + 1]):
            now = 1 - now
            is_possible = False
            for j in range(n):
                best, origin = -math.inf, 0
                if t == starts[s]:
                    best = log_initial[j]
                else:
                    first, latest = (0, j) if lead == 1 else ((j % lead) * n_regimes, j // lead)
                    for i in range(first, first + n_regimes):
                        height = heights[1 - now, i] + log_transition[i if lead == 1 else i // lead, latest]
                        if height > best:
                            best, origin = height, i
                if best > -math.inf:
                    best += log_densities[t, j]
                    if not best < math.inf:
                        return t
                heights[now, j] = best
                came_from[t, j] = origin
                is_possible = is_possible or best > -math.inf
            if not is_possible:
                return t
        last = 0
        for j in range(n):
            if heights[now, j] > heights[now, last]:
                last = j
        log_joints[s] = heights[now, last]
        for t in range(starts[s + 1] - 1, starts[s] - 1, -1):
            path[t] = last
            last = came_from[t, last]
    return -1
