"""`Stopping` for many runs that are at the same iteration: the same criteria over a leading axis."""

from __future__ import annotations

import numpy as np

from kalman_em.arrays import Array, BoolArray
from kalman_em.em.stopping import FALL_ROUNDING, GAIN_ROUNDING, HOLD, RATE_WINDOW, STEP_ROUNDING, Stopping


def are_met(stopping: Stopping, log_likelihoods: Array, changes: Array) -> BoolArray:
    """Return `stopping.is_met` of each of N runs, from their objectives (N, n + 1) and changes (N, n).

    Examples
    --------
    >>> errors = 0.5 ** np.arange(17.0)
    >>> are_met(Stopping(), -(errors[None] ** 2), errors[None, 1:]).tolist()
    [True]
    """
    if changes.shape[1] == 0:
        return np.zeros(len(changes), dtype=bool)
    settled = (changes[:, -1] <= STEP_ROUNDING) | _have_settled(
        changes, np.full(len(changes), stopping.parameter_tolerance)
    )
    latest = log_likelihoods[:, -1]
    is_flat = latest - log_likelihoods[:, -2] <= GAIN_ROUNDING * (1.0 + np.abs(latest))
    gains = np.maximum(np.diff(log_likelihoods[:, -HOLD - RATE_WINDOW - 1 :], axis=1), 0.0)
    ascent = np.maximum(latest - log_likelihoods[:, 1], 0.0)
    result: BoolArray = settled & (is_flat | _have_settled(gains, stopping.relative_tolerance * (1.0 + ascent)))
    return result


def have_fallen(log_likelihoods: Array, highest: Array) -> BoolArray:
    """Return whether the latest objective of each run is below its highest by more than rounding."""
    result: BoolArray = highest - log_likelihoods[:, -1] > FALL_ROUNDING * (1.0 + np.abs(highest))
    return result


def _have_settled(steps: Array, tolerance: Array) -> BoolArray:
    """Return `has_settled` of each row of steps (N, n)."""
    recent = steps[:, -HOLD - RATE_WINDOW :]
    n = recent.shape[1]
    settled = np.full(len(steps), n >= HOLD)
    for end in range(max(n - HOLD + 1, 1), n + 1):
        last = recent[:, end - 1]
        settled &= np.maximum(last, _projected(recent[:, max(end - RATE_WINDOW - 1, 0) : end])) <= tolerance
    return settled


def _projected(steps: Array) -> Array:
    """Return `projected_remaining` of each row of at most four steps (N, n)."""
    last, before, after = steps[:, -1], steps[:, :-1], steps[:, 1:]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.where(before > 0.0, after / before, np.inf)
        # An infinite step tells nothing of the rate: it is left out.
        ratios = np.where(np.isfinite(before), ratios, -np.inf)
        rate = ratios.max(axis=1, initial=-np.inf)
        rate = np.where(np.isneginf(rate), np.inf, rate)
        projected = np.where(rate < 1.0, last * rate / (1.0 - rate), np.inf)
    result: Array = np.where(last == 0.0, 0.0, projected)
    return result
