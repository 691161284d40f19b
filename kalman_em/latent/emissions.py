"""Rows seen through K Gaussians: log densities, and moments by component, exact for whatever is missing.

Given that a row x belongs to component k, its missing entries m have, given the observed ones o,

    E[x_m] = μ_m + Σ_mo Σ_oo^-1 (x_o - μ_o),        Cov[x_m] = Σ_mm - Σ_mo Σ_oo^-1 Σ_om,

and the density of the row is that of x_o (Little & Rubin, *Statistical Analysis with Missing Data*, section 11.2). With
Σ_oo = L L' and z = L^-1 (x_o - μ_o) the whole row less its mean is A z, A = Σ_.o L^-T: so a pattern of missing
entries needs only Σ z and Σ z z' over its rows, and matrices of the size of one covariance.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import log, pi

import numpy as np

from kalman_em.arrays import Array, IntArray
from kalman_em.errors import NumericalError
from kalman_em.latent.gaussians import Gaussians
from kalman_em.latent.moments import Moments
from kalman_em.latent.rows import Pattern, PatternedRows
from kalman_em.linalg import symmetrised

# Rows are taken in blocks whose whitened values for all components, so many numbers, stay in the cache.
BLOCK = 1 << 15


@dataclass(frozen=True, eq=False)
class Block:
    """Some rows of one pattern: which, their values whitened by each component (K, b, q), log densities (K, b)."""

    at: IntArray
    whitened: Array
    log_densities: Array


class PatternView:
    """One missing pattern seen through the components: yields blocks of rows, collects their weighted moments."""

    def __init__(self, gaussians: Gaussians, rows: PatternedRows, pattern: Pattern) -> None:
        observed = pattern.observed
        self._pattern, self._gaussians = pattern, gaussians
        roots = _roots(gaussians.covs[:, observed[:, None], observed])
        self._inverses = np.swapaxes(np.linalg.inv(roots), 1, 2)
        self._middle = (gaussians.means - rows.centre)[:, None, observed] @ self._inverses
        log_dets = 2.0 * np.log(np.diagonal(roots, axis1=1, axis2=2)).sum(axis=1)
        self._constants = 0.0 - 0.5 * (len(observed) * log(2.0 * pi) + log_dets)
        K, q = gaussians.n_components, len(observed)
        self._roots = roots
        self.counts, self._first, self._second = np.zeros(K), np.zeros((K, q)), np.zeros((K, q, q))

    def blocks(self) -> Iterator[Block]:
        """Yield the rows block by block."""
        values, at = self._pattern.values, self._pattern.at
        size = max(64, BLOCK // max(1, self._first.size))
        for begin in range(0, len(at), size):
            rows = slice(begin, begin + size)
            whitened = values[rows] @ self._inverses
            whitened -= self._middle
            squares = np.einsum("kbq,kbq->kb", whitened, whitened)
            yield Block(at[rows], whitened, self._constants[:, None] - 0.5 * squares)

    def add(self, block: Block, weights: Array) -> None:
        """Add the rows of `block`, each with `weights` (K, b)."""
        weighted = block.whitened * weights[:, :, None]
        self.counts += weights.sum(axis=1)
        self._first += weighted.sum(axis=1)
        self._second += np.swapaxes(weighted, 1, 2) @ block.whitened

    def sums(self) -> tuple[Array, Array]:
        """Return Σ w e (K, p) and Σ w e e' (K, p, p) for whole rows e less the means, in expectation."""
        observed, covs = self._pattern.observed, self._gaussians.covs
        if len(observed) == self._gaussians.dim:
            return _lifted(self._roots, self._first, self._second)
        lift = covs[:, :, observed] @ self._inverses
        lift[:, observed] = self._roots
        left = symmetrised(covs - lift @ np.swapaxes(lift, 1, 2))
        left[:, observed] = 0.0
        left[:, :, observed] = 0.0
        first, second = _lifted(lift, self._first, self._second)
        return first, second + self.counts[:, None, None] * left


def views(gaussians: Gaussians, rows: PatternedRows) -> Iterator[PatternView]:
    """Yield the missing patterns of `rows`; `NumericalError` naming a component whose covariance is singular."""
    return (PatternView(gaussians, rows, pattern) for pattern in rows.patterns)


def log_densities(gaussians: Gaussians, rows: PatternedRows) -> Array:
    """Return log N(x_o; μ_k, Σ_k) for every row and component, shape (n, K); 0 for a row without observed entries.

    Examples
    --------
    >>> from kalman_em.latent.rows import patterned_values
    >>> pair = Gaussians(means=[[0.0, 0.0], [1.0, 0.0]], covs=[np.eye(2)] * 2)
    >>> log_densities(pair, patterned_values(np.array([[0.0, np.nan], [np.nan, np.nan]]))).round(3).tolist()
    [[-0.919, -1.419], [0.0, 0.0]]
    """
    result = np.empty((rows.n_rows, gaussians.n_components))
    for view in views(gaussians, rows):
        for block in view.blocks():
            result[block.at] = block.log_densities.T
    return result


def weighted_moments(gaussians: Gaussians, rows: PatternedRows, weights: Array) -> Moments:
    """Return the moments of the rows by component, row t belonging to k with weight `weights[t, k]`.

    Missing entries are expected at `gaussians`.
    """
    seen = []
    for view in views(gaussians, rows):
        for block in view.blocks():
            view.add(block, weights[block.at].T)
        seen.append(view)
    return moments_of(gaussians, seen)


def moments_of(gaussians: Gaussians, seen: list[PatternView]) -> Moments:
    """Return the moments that all patterns together have collected; an empty component keeps its own."""
    counts = np.sum([view.counts for view in seen], axis=0)
    sums = [view.sums() for view in seen]
    empty = counts <= 0.0
    divisor = np.where(empty, 1.0, counts)
    shift = np.sum([first for first, _ in sums], axis=0) / divisor[:, None]
    second = np.sum([second for _, second in sums], axis=0) / divisor[:, None, None]
    scatters = symmetrised(second - shift[:, :, None] * shift[:, None, :])
    return Moments(counts, gaussians.means + shift, np.where(empty[:, None, None], gaussians.covs, scatters))


def _lifted(lift: Array, first: Array, second: Array) -> tuple[Array, Array]:
    return (lift @ first[:, :, None])[:, :, 0], lift @ second @ np.swapaxes(lift, 1, 2)


def _roots(covs: Array) -> Array:
    try:
        return np.asarray(np.linalg.cholesky(covs))
    except np.linalg.LinAlgError:
        for k, cov in enumerate(covs):
            try:
                np.linalg.cholesky(cov)
            except np.linalg.LinAlgError:
                raise NumericalError(f"the covariance of component {k} is singular") from None
        raise
