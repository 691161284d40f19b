"""From continuous time to steps of any length: exp(A t), and what white noise has added by then.

Taylor series over a short time, then doubling: F(2t) = F(t)², Q(2t) = Q(t) + F(t) Q(t) F(t)'. All terms of the doubling
are covariances, so nothing cancels and nothing overflows where the motion decays; where A is nilpotent (constant
velocity, constant acceleration) the series ends, and the result is exact.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from kalman_em.arrays import Array

# The series are summed where the motion turns or decays by less than this; longer times are doublings of such.
SHORT = 0.5
MOST_TERMS = 60
# Columns of length 1 are independent of the others if this much of them is left.
INDEPENDENT = 1e-9
# Matrices handled at a time: enough to keep numpy busy, few enough for the cache.
CHUNK = 4096


def transition_matrices(drift: Array, gaps: Array) -> Array:
    """Return exp(A t) for the times t in `gaps`: (K, d, d).

    References
    ----------
    Al-Mohy and Higham, A new scaling and squaring algorithm for the matrix exponential, SIAM J. Matrix Anal. Appl. 31
    (2009), for the number of doublings by powers of A.
    """
    return np.concatenate([_transitions(drift, part) for part in _chunks(gaps)])


def noise_covs(drift: Array, diffusion: Array, gaps: Array) -> Array:
    """Return the integral of exp(A s) L L' exp(A s)' from 0 to t for the times t in `gaps`: (K, d, d).

    It is the covariance that white noise of unit spectral density, entering through L, has brought by then.

    References
    ----------
    Van Loan, Computing integrals involving the matrix exponential, IEEE Trans. Automatic Control 23 (1978), equation
    (1.4); the doubling is that of his section II.
    """
    return np.concatenate([_noises(drift, diffusion @ diffusion.T, part) for part in _chunks(gaps)])


def reachable_rank(drift: Array, diffusion: Array) -> int:
    """Return in how many directions noise through `diffusion` (d, r) moves the state, given any time at all.

    The rank of [L, A L, A² L, ...] (Kalman's controllability matrix), found column by column, with the states in units
    of what the noise does to them in the time that the motion itself takes.
    """
    rate = _rate(drift)
    time = 1.0 / rate if rate > 0.0 else 1.0
    deviations = np.sqrt(np.diagonal(noise_covs(drift, diffusion, np.array([time]))[0]))
    unit = np.where(deviations > 0.0, deviations, 1.0)
    drift, fresh = drift * unit / unit[:, None] * time, diffusion / unit[:, None]
    basis = np.zeros((len(drift), 0))
    for _ in range(len(drift)):
        found = basis.shape[1]
        for column in fresh.T:
            size = np.linalg.norm(column)
            rest = column - basis @ (basis.T @ column)
            rest = rest - basis @ (basis.T @ rest)
            if size > 0.0 and np.linalg.norm(rest) > INDEPENDENT * size:
                basis = np.column_stack([basis, rest / np.linalg.norm(rest)])
        if basis.shape[1] == found:
            break
        fresh = drift @ basis[:, found:]
    return int(basis.shape[1])


def roots(covs: Array, rank: int) -> Array:
    """Return A (K, d, rank) with A A' = each of `covs` (K, d, d), whose rank it is.

    The covariances are scaled to unit diagonals first: rows of any units, times of any length.
    """
    deviations = np.sqrt(np.diagonal(covs, axis1=1, axis2=2))
    unit = np.where(deviations > 0.0, deviations, 1.0)
    values, vectors = np.linalg.eigh(covs / unit[:, :, None] / unit[:, None, :])
    largest = np.maximum(values[:, len(unit[0]) - rank :], 0.0)
    result: Array = unit[:, :, None] * vectors[:, :, len(unit[0]) - rank :] * np.sqrt(largest)[:, None, :]
    return result


def _chunks(gaps: Array) -> list[Array]:
    return np.array_split(gaps, max(1, -(-len(gaps) // CHUNK)))


def _transitions(drift: Array, gaps: Array) -> Array:
    doublings = _doublings(drift, gaps)
    step = drift * (gaps / 2.0**doublings)[:, None, None]
    F = _exponentials(step)
    for done in range(int(doublings.max(initial=0))):
        left = doublings > done
        F[left] = F[left] @ F[left]
    return F


def _noises(drift: Array, density: Array, gaps: Array) -> Array:
    doublings = _doublings(drift, gaps)
    short = gaps / 2.0**doublings
    step = drift * short[:, None, None]
    F = _exponentials(step)
    term = density * short[:, None, None]
    Q = term.copy()
    # d/dt of exp(At) M exp(At)' is A(.) + (.)A': term by term under the integral.
    for n in range(2, MOST_TERMS):
        pushed = step @ term
        term = (pushed + np.swapaxes(pushed, 1, 2)) / n
        Q = Q + term
        if np.all(np.abs(term) <= 1e-18 * np.abs(Q)):
            break
    for done in range(int(doublings.max(initial=0))):
        left = doublings > done
        Q[left] = Q[left] + F[left] @ Q[left] @ np.swapaxes(F[left], 1, 2)
        F[left] = F[left] @ F[left]
    result: Array = 0.5 * (Q + np.swapaxes(Q, 1, 2))
    return result


def _exponentials(step: Array) -> Array:
    term = np.broadcast_to(np.eye(step.shape[-1]), step.shape)
    F = np.array(term)
    for n in range(1, MOST_TERMS):
        term = step @ term / n
        F += term
        if np.all(np.abs(term) <= 1e-18 * np.abs(F)):
            break
    return F


def _doublings(drift: Array, gaps: Array) -> Array:
    """Return how often a short time is doubled to make up each gap."""
    with np.errstate(divide="ignore"):
        return np.maximum(np.ceil(np.log2(_rate(drift) * gaps / SHORT)), 0.0)


def _rate(drift: Array) -> float:
    """Return how fast the motion turns, grows or decays, 1 / time.

    Not the norm of A but that of its powers, max |A^p|^(1/p) over two p: a chain of integrators has none.
    """
    power = drift
    sizes: list[float] = []
    for p in range(1, 2 * len(drift) + 1):
        sizes.append(float(np.linalg.norm(power, 1)) ** (1.0 / p))
        power = power @ drift
    return min(max(pair) for pair in pairwise(sizes))
