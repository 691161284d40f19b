"""Loadings of sensors without noise: known to be moved by the scale of the common noises alone.

A row without noise is seen exactly, so Fisher's identity says nothing of its loadings. The likelihood knows loadings Θ
and a covariance Q of the common noises by Θ Q Θ' only: to move the rows Θ0 without noise by δ is to turn the noises by
Γ = I + Θ0⁺δ, if the rows of Θ0 are independent, and to take back what that does to the other rows. Both have a score.
"""

from __future__ import annotations

import numpy as np

from kalman_em.arrays import Array, BoolArray
from kalman_em.inference.expectations import Expectations
from kalman_em.inference.rows import Rows
from kalman_em.models.draws import noise_scatters
from kalman_em.models.loadings import common_noises
from kalman_em.models.specification import Specification
from kalman_em.systems import LinearGaussianSystem

# Rows of loadings, each of length 1, are independent if their smallest singular value is above this.
INDEPENDENT = 1e-6


def are_turned(specification: Specification, system: LinearGaussianSystem, positions: tuple[int, ...]) -> bool:
    """Whether all that is learnt of H in these rows, were they without noise, is loadings that EM turns.

    That is what `kalman_em.models.loadings.rescaled` does to any independent rows: see the head of this module.
    """
    commons = common_noises(specification)
    if not commons or system.by_series:
        return False
    silent = _silent(system)
    silent[list(positions)] = True
    loadings = [_loadings(system, form.seen[0], form.rank)[silent] for form, _ in commons]
    return all(_are_independent(rows) for rows in loadings)


def with_silent_loadings(
    specification: Specification,
    system: LinearGaussianSystem,
    rows: Rows,
    expectations: Expectations,
    slope: Array,
    gram: Array,
) -> tuple[Array, Array]:
    """Return the score and the information of complete data with those of loadings of rows without noise filled in.

    With A = Θ0⁺, S = sum E[u u' - I] of the common noises u, and the scores G1 of the other rows Θ1, the score of Θ0
    is A'(S - Θ1'G1).

    Parameters
    ----------
    slope : ndarray, shape (p, c)
        The score in [H d D], 0 in rows without noise.
    gram : ndarray, shape (p, c, p, c)
        The information that complete data have of it.
    """
    commons = common_noises(specification)
    silent = _silent(system)
    if not commons or system.by_series or not silent.any():
        return slope, gram
    scatters, counts = noise_scatters(system, rows, expectations.transition.residual, expectations.transition.count)
    scatter, count = scatters.sum(axis=0), float(counts.sum())
    slope, gram = np.array(slope), np.array(gram)
    for form, place in commons:
        loadings = _loadings(system, form.seen[0], form.rank)
        if not _are_independent(loadings[silent]):
            continue
        n = count * form.copies
        others = sum(slope[~silent][:, first : first + form.rank] for first in form.seen)
        inverse = np.linalg.pinv(loadings[silent])
        excess = form.expanded(scatter[place, place]) * form.copies - n * np.eye(form.rank)
        columns = np.arange(form.seen[0], form.seen[0] + form.rank)
        slope[np.ix_(silent, columns)] = inverse.T @ (excess - loadings[~silent].T @ others)
        for row, turned in zip(np.flatnonzero(silent), inverse.T, strict=True):
            gram[row, columns, row, columns] = 2.0 * n * float(turned @ turned)
    return slope, gram


def _silent(system: LinearGaussianSystem) -> BoolArray:
    R = system.observation_cov
    return np.asarray(np.all(np.diagonal(R, axis1=-2, axis2=-1).reshape(-1, R.shape[-1]) <= 0.0, axis=0))


def _loadings(system: LinearGaussianSystem, first: int, rank: int) -> Array:
    H = system.observation_matrix
    return np.asarray(H.reshape(-1, *H.shape[-2:])[0][:, first : first + rank])


def _are_independent(rows: Array) -> bool:
    size = np.linalg.norm(rows, axis=1, keepdims=True)
    if len(rows) > rows.shape[1] or np.any(size <= 0.0):
        return False
    return bool(np.linalg.svd(rows / size, compute_uv=False)[-1] > INDEPENDENT)
