"""Covariances that share some of volume, shape and orientation: their M-step, and their free numbers.

    Σ_k = λ_k D_k A_k D_k' = D_k diag(a_k) D_k',   |A_k| = 1,   λ_k = |Σ_k|^(1/p)

(Celeux & Govaert, *Gaussian parsimonious clustering models*, Pattern Recognition 28 (1995), whose M-steps these are.)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import scipy

from kalman_em.arrays import Array
from kalman_em.linalg import symmetrised

# Iterations inside of one M-step: each is exact in some of the factors, and they settle within tens.
MOST_ROUNDS = 2000
SETTLED = 1e-14
# An angle off by so much costs its square.
STILL = 1e-9


@dataclass(frozen=True)
class Structure:
    """What `n_components` covariances over `dim` columns share; `is_diagonal` says that all lie along the columns.

    Examples
    --------
    >>> Structure(("volume",), True, 3, 2).n_free                       # one volume, three shapes
    4
    """

    shares: tuple[str, ...]
    is_diagonal: bool
    n_components: int
    dim: int

    @property
    def n_free(self) -> int:
        """Number of free numbers."""
        return sum(n * size for n, size in self._sizes)

    def most_likely(self, counts: Array, scatters: Array, near: Array) -> Array:
        """Return the covariances (K, p, p) that maximise -Σ_k n_k (log|Σ_k| + tr(Σ_k^-1 S_k)).

        Closed for EVI, EEV and EVV, else by steps each exact in some of the factors. An orientation for all is found by
        rotations in planes from that of `near`, a local maximum.
        Where a direction has no scatter the scatters come back as they are.
        """
        if self.is_diagonal:
            axes = np.broadcast_to(np.eye(self.dim), scatters.shape)
        elif "orientation" not in self.shares:
            axes = np.linalg.eigh(scatters)[1]
        elif "shape" in self.shares:
            return self._proportional(counts, scatters)
        else:
            return self._common_axes(counts, scatters, orientation(near))
        return composed(axes, self.spectra(counts, variances_along(axes, scatters)))

    def spectra(self, counts: Array, variances: Array) -> Array:
        """Return a (K, p) with the volumes and shapes shared that minimise Σ_k n_k Σ_j (log a_kj + v_kj / a_kj)."""
        if variances.min() <= 0.0 or ("volume" not in self.shares and "shape" not in self.shares):
            return variances
        share = (counts / counts.sum())[:, None]
        if "shape" not in self.shares:
            volumes = np.exp(np.log(variances).mean(axis=1, keepdims=True))
            result: Array = variances * (float((share * volumes).sum()) / volumes)
            return result
        if "volume" in self.shares:
            return np.broadcast_to((share * variances).sum(axis=0), variances.shape)
        shape = _scaled_to_one((share * variances).sum(axis=0))
        for _ in range(MOST_ROUNDS):
            volumes = (variances / shape).mean(axis=1, keepdims=True)
            before, shape = shape, _scaled_to_one((share * variances / volumes).sum(axis=0))
            if np.abs(shape / before - 1.0).max() < SETTLED:
                break
        found: Array = (variances / shape).mean(axis=1, keepdims=True) * shape
        return found

    def free_numbers(self, covs: Array) -> Array:
        """Return the free numbers of covariances: logarithms of volumes and of shapes, and turns, which are 0."""
        axes = self._axes(covs)
        logs = np.log(variances_along(axes, covs))
        volumes = logs.mean(axis=1, keepdims=True)
        parts = [volumes, (logs - volumes)[:, :-1], np.zeros((len(covs), self._sizes[2][1]))]
        return np.concatenate([part[:n].ravel() for part, (n, _) in zip(parts, self._sizes, strict=True)])

    def with_numbers(self, covs: Array, numbers: Array) -> Array:
        """Return covariances with these numbers, turned from where `covs` stand."""
        K, p, parts, at = self.n_components, self.dim, [], 0
        for n, size in self._sizes:
            parts.append(np.broadcast_to(numbers[at : at + n * size].reshape(n, size), (K, size)))
            at += n * size
        volumes, shapes, turns = parts
        shapes = np.concatenate([shapes, -shapes.sum(axis=1, keepdims=True)], axis=1)
        return composed(np.array([*self._turned(self._axes(covs), turns)]).reshape(K, p, p), np.exp(volumes + shapes))

    @property
    def _sizes(self) -> list[tuple[int, int]]:
        """How many there are of volume, shape and orientation, and how many numbers each has."""
        p = self.dim
        each = (1, p - 1, 0 if self.is_diagonal else p * (p - 1) // 2)
        names = ("volume", "shape", "orientation")
        return [(1 if name in self.shares else self.n_components, n) for name, n in zip(names, each, strict=True)]

    def _axes(self, covs: Array) -> Array:
        if self.is_diagonal:
            return np.broadcast_to(np.eye(self.dim), covs.shape)
        if "orientation" in self.shares:
            return np.broadcast_to(orientation(covs), covs.shape)
        return np.linalg.eigh(covs)[1]

    def _turned(self, axes: Array, turns: Array) -> Iterator[Array]:
        lower = np.tril_indices(self.dim, -1)
        for own, turn in zip(axes, turns, strict=True):
            skew = np.zeros((self.dim, self.dim))
            if turn.size:
                skew[lower] = turn
            yield own @ scipy.linalg.expm(skew - skew.T)

    def _proportional(self, counts: Array, scatters: Array) -> Array:
        """Return covariances λ_k C (VEE): each of λ and C given the other is closed."""
        share, p = counts / counts.sum(), self.dim
        common = np.einsum("k,kij->ij", share, scatters)
        volumes = np.ones(len(counts))
        for _ in range(MOST_ROUNDS):
            before = volumes
            volumes = np.trace(np.linalg.solve(common, scatters), axis1=1, axis2=2) / p
            if not volumes.min() > 0.0:
                return scatters
            common = symmetrised(np.einsum("k,kij->ij", share / volumes, scatters))
            volumes = volumes * np.exp(np.linalg.slogdet(common)[1] / p)
            common = common / np.exp(np.linalg.slogdet(common)[1] / p)
            if np.abs(volumes / before - 1.0).max() < SETTLED:
                break
        result: Array = volumes[:, None, None] * common
        return result

    def _common_axes(self, counts: Array, scatters: Array, axes: Array) -> Array:
        """Return covariances with one orientation, by exact rotations in one plane after another.

        Given the variances a along the axes, a turn by θ in the plane of l and m changes the objective by
        P cos 2θ + Q sin 2θ, in which P and Q are sums over components (Flury and Gautschi, SIAM J. Sci. Stat. Comput. 7
        (1986), have the stationary points of the same problem).
        """
        inside = np.swapaxes(axes, 0, 1) @ scatters @ axes
        for _ in range(MOST_ROUNDS):
            variances = np.diagonal(inside, axis1=1, axis2=2)
            found = self.spectra(counts, variances)
            if variances.min() <= 0.0:
                return scatters
            largest = 0.0
            for one, other in combinations(range(self.dim), 2):
                weights = counts * (1.0 / found[:, one] - 1.0 / found[:, other])
                along = 0.5 * float(weights @ (inside[:, one, one] - inside[:, other, other]))
                across = float(weights @ inside[:, one, other])
                angle = 0.5 * np.arctan2(-across, -along) if across != 0.0 or along > 0.0 else 0.0
                turn = np.eye(self.dim)
                turn[[one, other], [one, other]] = np.cos(angle)
                turn[other, one], turn[one, other] = np.sin(angle), -np.sin(angle)
                inside, axes = turn.T @ inside @ turn, axes @ turn
                largest = max(largest, abs(float(np.sin(angle))))
            if largest < STILL:
                break
        variances = np.diagonal(inside, axis1=1, axis2=2)
        return composed(np.broadcast_to(axes, scatters.shape), self.spectra(counts, variances))


def orientation(covs: Array) -> Array:
    """Return the axes (p, p) that covariances have in common, if they have.

    Of a mean of them in shares that no two directions are alike in.
    """
    shares = 1.0 / (np.arange(len(covs)) + np.sqrt(2.0)) / np.trace(covs, axis1=1, axis2=2)
    return np.asarray(np.linalg.eigh(np.einsum("k,kij->ij", shares, covs))[1])


def variances_along(axes: Array, covs: Array) -> Array:
    """Return the diagonals of D' Σ D, shape (K, p)."""
    return np.asarray(np.einsum("kji,kjl,kli->ki", axes, covs, axes))


def composed(axes: Array, variances: Array) -> Array:
    """Return D diag(a) D', shape (K, p, p).

    Examples
    --------
    >>> composed(np.eye(2)[None], np.array([[2.0, 3.0]])).tolist()
    [[[2.0, 0.0], [0.0, 3.0]]]
    """
    return symmetrised((axes * variances[:, None, :]) @ np.swapaxes(axes, 1, 2))


def _scaled_to_one(spectrum: Array) -> Array:
    """Return a diagonal scaled so that its product is 1."""
    result: Array = spectrum / np.exp(np.log(spectrum).mean())
    return result
