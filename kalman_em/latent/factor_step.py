"""The M-step of factor analysis: loadings and noise variances that are most likely given the scatter of whole rows.

For rows with covariance Σ = W W' + Ψ and scatter S the expected log-likelihood of n whole rows is, up to a constant,

    -n/2 (log|Σ| + tr(Σ^-1 S)),

with the factors summed out. It has closed forms in W given Ψ (Lawley & Maxwell, *Factor Analysis as a Statistical
Method*, 2nd ed. 1971, section 4.2) and in one ψ given all else (Zhao, Yu & Jiang 2008, section 3), and in both at once
where all ψ are equal (Tipping & Bishop 1999). Each is an exact maximum, so the steps in turns never lower it:
conditional maximisations of the likelihood itself, as in ECME (Liu & Rubin 1994), which need a small part of the steps
of EM with hidden factors (Rubin & Thayer 1982).

References
----------
Zhao, Yu and Jiang, ML estimation for factor analysis: EM or non-EM?, Statistics and Computing 18 (2008).
Tipping and Bishop, Probabilistic principal component analysis, JRSS B 61 (1999), equations (7) and (8).
Liu and Rubin, The ECME algorithm, Biometrika 81 (1994). Rubin and Thayer, EM algorithms for ML factor analysis,
Psychometrika 47 (1982).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy

from kalman_em.arrays import Array, BoolArray
from kalman_em.em.forms import Diagonal, Isotropic
from kalman_em.errors import InputError
from kalman_em.latent.factor_params import cov_of

# A noise variance is held at this part of its column's variance: an edge, at which the column is the factors' alone.
EDGE = 1e-8
# Turns of noise and loadings in one M-step: they cost little beside the E-step of rows with gaps.
TURNS = 3


@dataclass(frozen=True)
class FactorStep:
    """`n_factors` factors under `dim` columns, with noise of the form `noise`."""

    n_factors: int
    noise: Any
    dim: int

    def __post_init__(self) -> None:
        q, p = self.n_factors, self.dim
        if q >= p:
            raise InputError(f"n_factors: expected less than the {p} columns, got {q}")
        if self.n_free > p * (p + 1) // 2:
            most = max(k for k in range(q) if (p - k) ** 2 >= p + k)
            raise InputError(
                f"n_factors: expected at most {most} for {p} columns, got {q}: loadings and variances would be more "
                f"numbers ({self.n_free}) than their covariance has ({p * (p + 1) // 2})"
            )

    @property
    def n_free(self) -> int:
        """Free numbers in loadings and noise; a rotation of the factors, q (q - 1) / 2 numbers, changes nothing."""
        p, q = self.dim, self.n_factors
        return p * q - q * (q - 1) // 2 + (1 if self.is_isotropic else p)

    @property
    def is_isotropic(self) -> bool:
        """Whether all columns have one noise variance."""
        return isinstance(self.noise, Isotropic)

    def first(self, scatter: Array, shares: Any = 0.5) -> tuple[Array, Array]:
        """Return loadings and noise variances to begin with: noise is `shares` of each column's variance."""
        noise = np.diagonal(scatter) * shares
        if self.is_isotropic:
            noise = np.full(self.dim, noise.mean())
        return best_loadings(noise, scatter, self.n_factors), noise

    def most_likely(self, scatter: Array, loadings: Array, noise: Array) -> tuple[Array, Array]:
        """Return loadings and noise variances that raise the expected log-likelihood, to its top if isotropic."""
        if self.is_isotropic:
            return principal(scatter, self.n_factors)
        for _ in range(TURNS):
            noise = best_noise(loadings, noise, scatter)
            loadings = best_loadings(noise, scatter, self.n_factors)
        return loadings, noise

    def at_edge(self, cov: Array, noise: Array) -> BoolArray:
        """Return which columns have no noise left, shape (p,)."""
        return np.asarray(noise <= 2.0 * EDGE * np.diagonal(cov))

    def free_numbers(self, loadings: Array, noise: Array) -> Array:
        """Return free numbers: loadings turned so that q rows are triangular, then noise variances off the edge."""
        turned = loadings @ _turn(loadings, noise)
        return np.concatenate([turned[_below(loadings, noise)], noise[self._live(loadings, noise)]])

    def with_numbers(self, loadings: Array, noise: Array, numbers: Array) -> tuple[Array, Array]:
        """Return loadings and noise variances with these numbers, the axes in the order and with the signs of
        `loadings`."""
        below, live = _below(loadings, noise), self._live(loadings, noise)
        n = int(np.count_nonzero(below))
        turned, variances = np.zeros_like(loadings), np.array(noise)
        turned[below] = numbers[:n]
        variances[live] = numbers[n:]
        if self.is_isotropic:
            variances[:] = variances[0]
        if variances.min() <= 0.0:
            raise InputError(f"noise_variances: expected all above 0, got {variances.min():.3g}")
        _, axes = np.linalg.eigh(turned.T @ (turned / variances[:, None]))
        moved = turned @ axes[:, ::-1]
        along = np.einsum("pq,pq,p->q", moved, loadings, 1.0 / variances)
        return moved * np.where(along < 0.0, -1.0, 1.0), variances

    def _live(self, loadings: Array, noise: Array) -> BoolArray:
        """Return which noise variances are free numbers, shape (p,): the first of equal ones, none at the edge."""
        live = ~self.at_edge(cov_of(loadings, noise), noise)
        if self.is_isotropic:
            live[1:] = False
        return live


def _pivots(loadings: Array, noise: Array) -> Array:
    """Return q columns whose loadings, in units of noise, are far from dependent."""
    return np.asarray(scipy.linalg.qr(loadings.T / np.sqrt(noise), mode="r", pivoting=True)[1][: loadings.shape[1]])


def _turn(loadings: Array, noise: Array) -> Array:
    """Return the rotation after which the loadings of the pivots are lower triangular, (q, q)."""
    return np.asarray(np.linalg.qr(loadings[_pivots(loadings, noise)].T)[0])


def _below(loadings: Array, noise: Array) -> BoolArray:
    """Return which loadings are not 0 after the turn, shape (p, q)."""
    below = np.ones(loadings.shape, dtype=bool)
    for column, row in enumerate(_pivots(loadings, noise)):
        below[row, column + 1 :] = False
    return below


def check_noise(noise: object) -> None:
    """Raise `InputError` unless `noise` is a form that factor analysis knows."""
    if not isinstance(noise, Diagonal | Isotropic):
        raise InputError(f"noise: expected Diagonal() or Isotropic(), got {noise!r}")


def best_loadings(noise: Array, scatter: Array, n_factors: int) -> Array:
    """Return the most likely loadings given the noise: W = Ψ^½ U (Λ - I)^½, U Λ U' the top of Ψ^-½ S Ψ^-½.

    So W' Ψ^-1 W is diagonal and falls: the principal axes of the columns in units of their noise. The sum of a
    factor's loadings in these units is not below 0.

    Examples
    --------
    >>> best_loadings(np.array([1.0, 1.0]), np.array([[3.0, 2.0], [2.0, 3.0]]), 1).round(6).tolist()
    [[1.414214], [1.414214]]
    """
    unit = np.sqrt(noise)
    values, axes = np.linalg.eigh(scatter / (unit[:, None] * unit))
    values, axes = values[::-1][:n_factors], axes[:, ::-1][:, :n_factors]
    signs = np.where(axes.sum(axis=0) < 0.0, -1.0, 1.0)
    loadings: Array = unit[:, None] * axes * (signs * np.sqrt(np.maximum(values - 1.0, 0.0)))
    return loadings


def best_noise(loadings: Array, noise: Array, scatter: Array) -> Array:
    """Return the noise variances after each in turn has gone to its most likely value given all else.

    With B = Σ^-1, b = B_jj and c = (B S B)_jj the top along ψ_j is at ψ_j + (c - b) / b²; below the edge the
    likelihood falls all the way from the edge, so that is then its top. Both matrices follow by rank-one updates.

    Examples
    --------
    >>> best_noise(np.zeros((2, 1)), np.ones(2), np.diag([3.0, 5.0])).round(9).tolist()
    [3.0, 5.0]
    """
    unit = np.sqrt(np.diagonal(scatter))
    scatter = scatter / (unit[:, None] * unit)
    moved = noise / unit**2
    inverse = np.linalg.inv(cov_of(loadings / unit[:, None], moved))
    middle = inverse @ scatter @ inverse
    for j in range(len(moved)):
        b, c = inverse[j, j], middle[j, j]
        step = max((c / b - 1.0) / b, EDGE - moved[j])
        column, across = inverse[:, j].copy(), middle[:, j].copy()
        share = step / (1.0 + step * b)
        inverse -= share * np.outer(column, column)
        both = np.outer(column, across)
        middle += share * share * c * np.outer(column, column) - share * (both + both.T)
        moved[j] += step
    result: Array = moved * unit**2
    return result


def principal(scatter: Array, n_factors: int) -> tuple[Array, Array]:
    """Return the most likely loadings and noise variances, these all equal: σ² is the mean of the left eigenvalues.

    Examples
    --------
    >>> loadings, noise = principal(np.diag([1.0, 6.0, 3.0]), 1)
    >>> loadings.ravel().tolist(), noise.tolist()
    ([0.0, 2.0, 0.0], [2.0, 2.0, 2.0])
    """
    values = np.linalg.eigvalsh(scatter)[: len(scatter) - n_factors]
    noise = max(float(values.mean()), EDGE * float(np.trace(scatter)) / len(scatter))
    variances = np.full(len(scatter), noise)
    return best_loadings(variances, scatter, n_factors), variances
