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
from kalman_em.linalg import has_correlations, symmetrised

# Rows are taken in blocks whose whitened values for all components, so many numbers, stay in the cache.
BLOCK = 1 << 15


@dataclass(frozen=True, eq=False)
class Block:
    """Some rows of one pattern: which, their values whitened by each component (K, q, b), log densities (K, b)."""

    at: IntArray
    whitened: Array
    log_densities: Array


class PatternView:
    """One missing pattern seen through the components: yields blocks of rows, collects their weighted moments.

    With covariances that are all diagonal only the diagonals of the scatters are collected, which is all that forms
    of independent noise need.
    """

    def __init__(self, gaussians: Gaussians, rows: PatternedRows, pattern: Pattern, is_diagonal: bool) -> None:
        observed = pattern.observed
        self._pattern, self._gaussians, self._is_diagonal = pattern, gaussians, is_diagonal
        self._roots = _roots(gaussians.covs[:, observed[:, None], observed])
        diagonals = np.diagonal(self._roots, axis1=1, axis2=2)
        self._whiteners = np.linalg.inv(self._roots)
        self._scales = (1.0 / diagonals)[:, :, None]
        self._middle = self._whiteners @ (gaussians.means - rows.centre)[:, observed, None]
        log_dets = 2.0 * np.log(diagonals).sum(axis=1)
        self._constants = 0.0 - 0.5 * (len(observed) * log(2.0 * pi) + log_dets)
        K, q = gaussians.n_components, len(observed)
        self.counts, self._first = np.zeros(K), np.zeros((K, q))
        self._second = np.zeros((K, q) if is_diagonal else (K, q, q))

    def blocks(self) -> Iterator[Block]:
        """Yield the rows block by block."""
        columns, at = self._pattern.columns, self._pattern.at
        size = max(64, BLOCK // max(1, self._first.size))
        for begin in range(0, len(at), size):
            rows = slice(begin, begin + size)
            part = columns[:, rows]
            whitened = part * self._scales if self._is_diagonal else self._whiteners @ part
            whitened -= self._middle
            # A row too far away for its square to be a number has the density 0.
            with np.errstate(over="ignore"):
                squares = (whitened * whitened).sum(axis=1)
            yield Block(at[rows], whitened, self._constants[:, None] - 0.5 * squares)

    def add(self, block: Block, weights: Array) -> None:
        """Add the rows of `block`, each with `weights` (K, b)."""
        self.counts += weights.sum(axis=1)
        if self._is_diagonal:
            self._first += (block.whitened @ weights[:, :, None])[:, :, 0]
            self._second += ((block.whitened * block.whitened) @ weights[:, :, None])[:, :, 0]
            return
        weighted = block.whitened * weights[:, None, :]
        self._first += weighted.sum(axis=2)
        self._second += weighted @ np.swapaxes(block.whitened, 1, 2)

    def lift(self) -> Array:
        """Return A (K, p, q), which brings whitened values to the expected whole row less the mean."""
        observed = self._pattern.observed
        if len(observed) == self._gaussians.dim:
            return self._roots
        lift = self._gaussians.covs[:, :, observed] @ np.swapaxes(self._whiteners, 1, 2)
        lift[:, observed] = self._roots
        return lift

    def sums(self) -> tuple[Array, Array]:
        """Return Σ w e (K, p) and Σ w e e' (K, p, p) for whole rows e less the means, in expectation."""
        observed, covs = self._pattern.observed, self._gaussians.covs
        lift = self.lift()
        second = self._second
        if self._is_diagonal:
            second = second[:, :, None] * np.eye(len(observed))
        if len(observed) == self._gaussians.dim:
            return _lifted(lift, self._first, second)
        left = symmetrised(covs - lift @ np.swapaxes(lift, 1, 2))
        left[:, observed] = 0.0
        left[:, :, observed] = 0.0
        first, second = _lifted(lift, self._first, second)
        return first, second + self.counts[:, None, None] * left


def views(gaussians: Gaussians, rows: PatternedRows, diagonal_is_enough: bool = False) -> Iterator[PatternView]:
    """Yield the missing patterns of `rows`; `NumericalError` naming a component whose covariance is singular.

    `diagonal_is_enough` says that of the scatters no more than the diagonals is asked for.
    """
    is_diagonal = not has_correlations(gaussians.covs)
    return (PatternView(gaussians, rows, pattern, is_diagonal and diagonal_is_enough) for pattern in rows.patterns)


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
    for view in views(gaussians, rows, diagonal_is_enough=True):
        for block in view.blocks():
            result[block.at] = block.log_densities.T
    return result


def weighted_moments(
    gaussians: Gaussians, rows: PatternedRows, weights: Array, diagonal_is_enough: bool = False
) -> Moments:
    """Return the moments of the rows by component, row t belonging to k with weight `weights[t, k]`.

    Missing entries are expected at `gaussians`. For `diagonal_is_enough` see `views`.
    """
    seen = []
    for view in views(gaussians, rows, diagonal_is_enough):
        for block in view.blocks():
            view.add(block, weights[block.at].T)
        seen.append(view)
    return moments_of(gaussians, seen)


def completed_rows(gaussians: Gaussians, rows: PatternedRows, shares: Array) -> Array:
    """Return the mean of every row given what was observed of it, shape (n, p), for components of `shares` (n, K)."""
    result = np.empty((rows.n_rows, rows.dim))
    for view in views(gaussians, rows, diagonal_is_enough=True):
        lift = view.lift()
        for block in view.blocks():
            whole = gaussians.means[:, :, None] + lift @ block.whitened
            result[block.at] = np.einsum("bk,kpb->bp", shares[block.at], whole)
    return result


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
