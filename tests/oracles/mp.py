"""The oracle of many digits: the covariance recursions as textbooks have them, in mpmath, where rounding is no matter.

Scalar observations one after another, and the smoother in de Jong's form (Durbin and Koopman 2012, sections 6.4 and
4.4). A diffuse element starts with the variance κ = 10^150, and the log-likelihood is that of the limit,
log L + (rank / 2) log κ: with 700 digits, 150 digits of the limit are right.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from mpmath import mp, mpf
from support.systems import at

DIGITS, DIFFUSE_DIGITS = 50, 700
LARGE = mpf(10) ** 150


@dataclass(frozen=True)
class Exact:
    """Moments of the states as arrays of mpf, named as in `FilteredStates` and `SmoothedStates`."""

    filtered_means: np.ndarray
    filtered_covs: np.ndarray
    predicted_covs: np.ndarray
    smoothed_means: np.ndarray
    smoothed_covs: np.ndarray
    lag_one_covs: np.ndarray
    log_likelihood: float


def exact(system, observations, *, digits=None):
    """Return the `Exact` moments; rows of a diffuse phase hold κ in their filtered covariances."""
    has_diffuse = bool(np.any(system.initial_diffuse))
    with mp.workdps(digits or (DIFFUSE_DIGITS if has_diffuse else DIGITS)):
        return _run(system, observations)


def floats(array):
    """Return an array of mpf rounded to floats."""
    return np.array(array, dtype=np.float64)


def scaled_error(actual, expected, size):
    """Return the largest |actual - expected| / size, the difference taken before rounding; 0 / 0 is 0."""
    difference = np.abs(floats(_mp(np.asarray(actual)) - expected))
    size = np.broadcast_to(np.asarray(size, dtype=np.float64), difference.shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(difference == 0.0, 0.0, difference / size)
    return float(ratio.max(initial=0.0))


_mp = np.vectorize(mpf, otypes=[object])


def _run(system, observations):
    values, inputs = observations.values, observations.inputs
    n_steps, d = len(values), system.state_dim
    tiny = mpf(10) ** (-mp.dps // 2)
    G = np.eye(d) if system.noise_selection is None else system.noise_selection

    def part(array, t, ndim):
        return _mp(at(array, t, ndim))

    def known(matrix, t):
        return 0 if matrix is None or inputs is None else part(matrix, t, 2) @ _mp(inputs[t])

    m, P = _mp(system.initial_mean), _mp(system.initial_cov)
    P = P + np.diag([LARGE if is_diffuse else mpf(0) for is_diffuse in system.initial_diffuse])
    log_likelihood, forward, largest = mpf(0), [], np.abs(P)
    for t in range(n_steps):
        predicted, scalars = P, []
        largest = np.maximum(largest, np.abs(P))
        offset = part(system.observation_offset, t, 1) + known(system.observation_input, t)
        seen = ~np.isnan(values[t])
        y = _mp(values[t][seen]) - offset[seen]
        L, variances = _ldl(part(system.observation_cov, t, 2)[np.ix_(seen, seen)], tiny)
        y, H = _forward(L, y), _forward(L, part(system.observation_matrix, t, 2)[seen])
        for h, value, variance in zip(H, y, variances, strict=True):
            moved = P @ h
            s = h @ moved + variance
            if s <= tiny * (np.abs(h) @ largest @ np.abs(h) + variance):
                continue
            error, gain = value - h @ m, moved / s
            log_likelihood -= (mp.log(2 * mp.pi * s) + error**2 / s) / 2
            if s > mp.sqrt(LARGE):
                log_likelihood += mp.log(LARGE) / 2
            scalars.append((h, error, s, gain))
            m = m + gain * error
            P = P - np.outer(gain, moved)
        F = None
        after = (m, P)
        if t + 1 < n_steps:
            F, g = part(system.transition_matrix, t, 2), _mp(at(G, t, 2))
            m = F @ m + part(system.transition_offset, t, 1) + known(system.transition_input, t)
            P = F @ P @ F.T + g @ part(system.transition_cov, t, 2) @ g.T
        forward.append((predicted, after, scalars, F))
    return _smoothed(forward, d, float(log_likelihood))


def _smoothed(forward, d, log_likelihood):
    r, N = _mp(np.zeros(d)), _mp(np.zeros((d, d)))
    means, covs, lag_one, after_next = [], [], [], None
    for predicted, (m, P), scalars, F in reversed(forward):
        if F is not None:
            lag_one.append((_mp(np.eye(d)) - after_next @ N) @ F @ P)
            r, N = F.T @ r, F.T @ N @ F
        means.append(m + P @ r)
        covs.append(P - P @ N @ P)
        for h, error, s, gain in reversed(scalars):
            left = _mp(np.eye(d)) - np.outer(gain, h)
            r = h * (error / s) + left.T @ r
            N = np.outer(h, h) / s + left.T @ N @ left
        after_next = predicted
    return Exact(
        filtered_means=np.array([after[0] for _, after, _, _ in forward]),
        filtered_covs=np.array([after[1] for _, after, _, _ in forward]),
        predicted_covs=np.array([predicted for predicted, _, _, _ in forward]),
        smoothed_means=np.array(means[::-1]),
        smoothed_covs=np.array(covs[::-1]),
        lag_one_covs=np.array(lag_one[::-1]).reshape(-1, d, d),
        log_likelihood=log_likelihood,
    )


def _ldl(matrix, tiny):
    n = len(matrix)
    L, pivots, left = _mp(np.eye(n)), [], matrix.copy()
    for j in range(n):
        pivot = left[j, j] if left[j, j] > tiny * matrix[j, j] else mpf(0)
        pivots.append(pivot)
        if pivot > 0:
            L[j + 1 :, j] = left[j + 1 :, j] / pivot
            left[j + 1 :, j + 1 :] -= np.outer(L[j + 1 :, j], left[j + 1 :, j]) if j + 1 < n else 0
    return L, pivots


def _forward(L, right):
    result = right.copy()
    for i in range(len(L)):
        for k in range(i):
            result[i] = result[i] - L[i, k] * result[k]
    return result
