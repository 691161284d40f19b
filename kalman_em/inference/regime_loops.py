"""Forward and backward over the regimes of a Markov chain, compiled: probabilities, scaled at every row.

The rows of all series come one after another; series s has the rows from `starts[s]` to `starts[s + 1]`.

Of K regimes, densities may depend on those of the latest q rows together: n = K^q histories, numbered by their regimes
as digits, the latest first. With K^(q-1) = `lead` history i has latest regime i // lead, and when regime j follows it
becomes history j lead + i // K. For q = 1 histories are regimes.
"""

from __future__ import annotations

import math

from kalman_em.arrays import Array, IntArray
from kalman_em.compiled import kernel

# Below this a probability may come to nothing in the products of the next step.
FAINT = 1e-100


@kernel
def filter_scaled(
    starts: IntArray,
    log_densities: Array,
    initial: Array,
    transition: Array,
    predicted: Array,
    filtered: Array,
    log_likelihoods: Array,
) -> tuple[int, bool]:
    """Run the filter of Hamilton (1989, equations 4.4 to 4.9) over every series, filling the last three arguments.

    `initial` has one entry a history, `transition` is (K, K). Densities are taken relative to the largest of the
    histories that can be reached. Returns the first row whose observation no such history allows (-1 if there is none),
    where the run ends, and whether a probability grew faint.
    """
    n, n_regimes = initial.shape[0], transition.shape[0]
    lead = n // n_regimes
    is_faint = False
    for s in range(starts.shape[0] - 1):
        for t in range(starts[s], starts[s + 1]):
            if t == starts[s]:
                for j in range(n):
                    predicted[t, j] = initial[j]
            else:
                for j in range(n):
                    predicted[t, j] = 0.0
                for i in range(n):
                    share, latest, rest = filtered[t - 1, i], i, 0
                    if lead > 1:  # a division takes longer than all the rest
                        latest, rest = i // lead, i // n_regimes
                    if share > 0.0:
                        for j in range(n_regimes):
                            predicted[t, j * lead + rest] += share * transition[latest, j]
            peak = -math.inf
            for j in range(n):
                if predicted[t, j] > 0.0 and log_densities[t, j] > peak:
                    peak = log_densities[t, j]
            # `not >` also turns NaN away.
            if not peak > -math.inf or peak == math.inf:
                return t, is_faint
            total = 0.0
            for j in range(n):
                weight = 0.0
                if predicted[t, j] > 0.0:
                    weight = predicted[t, j] * math.exp(log_densities[t, j] - peak)
                    if weight < FAINT and log_densities[t, j] > -math.inf:
                        is_faint = True
                filtered[t, j] = weight
                total += weight
            if not total > 0.0:
                # Only where the one regime left had a probability on the edge of what a number holds.
                return -1, True
            log_likelihoods[t] = peak + math.log(total)
            scale = 1.0 / total
            for j in range(n):
                filtered[t, j] *= scale
    return -1, is_faint


@kernel
def smooth_scaled(
    starts: IntArray,
    transition: Array,
    predicted: Array,
    filtered: Array,
    smoothed: Array,
    counts: Array,
    ratio: Array,
) -> None:
    """Run back over every series (Kim 1994, equation 2.20'), filling `smoothed` and adding to `counts`.

    `counts` (K, K) comes as zeros and ends as the expected number of moves from i to j; `ratio` (n,) is scratch space.
    """
    n, n_regimes = ratio.shape[0], transition.shape[0]
    lead = n // n_regimes
    for s in range(starts.shape[0] - 1):
        end = starts[s + 1] - 1
        if end < starts[s]:
            continue
        for j in range(n):
            smoothed[end, j] = filtered[end, j]
        for t in range(end - 1, starts[s] - 1, -1):
            for j in range(n):
                ratio[j] = smoothed[t + 1, j] / predicted[t + 1, j] if predicted[t + 1, j] > 0.0 else 0.0
            total = 0.0
            for i in range(n):
                onward, share, latest, rest = 0.0, filtered[t, i], i, 0
                if lead > 1:
                    latest, rest = i // lead, i // n_regimes
                for j in range(n_regimes):
                    onward += transition[latest, j] * ratio[j * lead + rest]
                    counts[latest, j] += share * ratio[j * lead + rest]
                smoothed[t, i] = share * onward
                total += smoothed[t, i]
            # One but for rounding, which would add up over the rows.
            scale = 1.0 / total
            for i in range(n):
                smoothed[t, i] *= scale
    for i in range(n_regimes):
        for j in range(n_regimes):
            counts[i, j] *= transition[i, j]
