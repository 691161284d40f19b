"""From continuous time to steps of any length: exp(A t), and what white noise has added by then.

Taylor series over a short time, then doubling: F(2t) = F(t)², Q(2t) = Q(t) + F(t) Q(t) F(t)'. All terms of the doubling
are covariances, so nothing cancels and nothing overflows where the motion decays; where A is nilpotent (constant
velocity, constant acceleration) the series ends, and the result is exact.
"""

from __future__ import annotations

from collections.abc import Callable
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
    return np.concatenate([_moves(drift, diffusion @ diffusion.T, part)[1] for part in _chunks(gaps)])


def moves(drift: Array, diffusion: Array, gaps: Array) -> tuple[Array, Array]:
    """Return `transition_matrices` and `noise_covs` for the times t in `gaps`, in little more time than the latter."""
    found = [_moves(drift, diffusion @ diffusion.T, part) for part in _chunks(gaps)]
    return np.concatenate([F for F, _ in found]), np.concatenate([Q for _, Q in found])


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
    F = _exponentials(drift, gaps / 2.0**doublings)
    for done in range(int(doublings.max(initial=0))):
        left = doublings > done
        F[left] = F[left] @ F[left]
    return F


def _moves(drift: Array, density: Array, gaps: Array) -> tuple[Array, Array]:
    doublings = _doublings(drift, gaps)
    short = gaps / 2.0**doublings
    F = _exponentials(drift, short)
    unit, parts = _parts(short)
    # d/dt of exp(At) M exp(At)' is A(.) + (.)A': term by term under the integral.
    terms = _terms(density * unit, lambda term, n: (unit * drift @ term + term @ drift.T * unit) / (n + 1))
    Q = _summed(terms, parts) * parts[:, None, None]
    for done in range(int(doublings.max(initial=0))):
        left = doublings > done
        Q[left] = Q[left] + F[left] @ Q[left] @ np.swapaxes(F[left], 1, 2)
        F[left] = F[left] @ F[left]
    return F, 0.5 * (Q + np.swapaxes(Q, 1, 2))


def _exponentials(drift: Array, short: Array) -> Array:
    unit, parts = _parts(short)
    return _summed(_terms(np.eye(len(drift)), lambda term, n: unit * drift @ term / n), parts)


def _parts(short: Array) -> tuple[float, Array]:
    """Return a power of 2 that no time is longer than, and the times as parts of it: their powers are small numbers."""
    longest = short.max(initial=0.0)
    unit = 2.0 ** np.ceil(np.log2(longest)) if longest > 0.0 else 1.0
    return float(unit), short / unit


def _terms(first: Array, following: Callable[[Array, int], Array]) -> Array:
    """Return the terms of a series in the unit of time, until they add nothing to what is there: (N, d, d)."""
    terms, total = [first], np.abs(first)
    for n in range(1, MOST_TERMS):
        terms.append(following(terms[-1], n))
        total = total + np.abs(terms[-1])
        if np.all(np.abs(terms[-1]) <= 1e-18 * total):
            break
    return np.array(terms)


def _summed(terms: Array, parts: Array) -> Array:
    """Return the sums of terms times powers of `parts` (K,), by one matrix product: (K, d, d)."""
    powers = np.cumprod(np.vstack([np.ones(len(parts)), np.tile(parts, (len(terms) - 1, 1))]), axis=0)
    return np.asarray((powers.T @ terms.reshape(len(terms), -1)).reshape(-1, *terms.shape[1:]))


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
