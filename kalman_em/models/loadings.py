"""The loadings of noises in common: their start, from the correlations of what moves the columns, and their scale."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import numpy as np

from kalman_em.arrays import Array
from kalman_em.em.common_noise import CommonNoise
from kalman_em.em.forms import BlockDiagonal
from kalman_em.inference.regression_sums import RegressionMoments
from kalman_em.inference.rows import Rows
from kalman_em.models.draws import noise_scatters
from kalman_em.models.layout import Layout
from kalman_em.models.specification import Specification
from kalman_em.systems import LinearGaussianSystem


def with_loadings(layout: Layout, known: Array, variances: Array, moves: Sequence[Array]) -> Array:
    """Return H, `known` but for its loadings: the leading principal components of the noises of the columns.

    Parameters
    ----------
    layout : Layout
    known : ndarray, shape (..., p, d)
    variances : ndarray, shape (n, p)
        Of every noise of one column, in order.
    moves : sequence of ndarray (S, c)
        What moves the states of each column; only their correlations count.
    """
    H, row, first = np.array(known), 0, 0
    for position, component in enumerate(layout.components):
        for noise in component.noises:
            for common in layout.commons:
                if common.position == position and common.noise is noise:
                    states = [first + state for state in noise.states]
                    drawn = np.stack([column[:, states].ravel() for column in moves], axis=1)
                    _put(H, common.seen, _principal(drawn, variances[row], common.rank))
            row += len(noise.states)
        first += component.state_dim
    return H


def _put(H: Array, places: Sequence[int], loadings: Array) -> None:
    """Write the loadings (p, r) into H wherever they stand: in the columns from each of `places` on."""
    for first in places:
        H[..., :, first : first + loadings.shape[1]] = loadings


def triangular(loadings: Array) -> Array:
    """Return the loadings (p, r) of the same covariance that are 0 above a diagonal that is not negative.

    Examples
    --------
    >>> triangular(np.array([[0.0, 2.0], [1.0, 1.0]])).round(12).tolist()
    [[2.0, 0.0], [1.0, 1.0]]
    """
    upper = np.linalg.qr(loadings.T, mode="r")
    signs = np.where(np.diagonal(upper) < 0.0, -1.0, 1.0)
    return np.asarray(np.tril((signs[:, None] * upper).T))


def rescaled(
    specification: Specification,
    old: LinearGaussianSystem,
    new: LinearGaussianSystem,
    rows: Rows,
    sums: RegressionMoments,
) -> LinearGaussianSystem:
    """Return `new` with its loadings times a root of the noise of the common states, as if that were learnt.

    `sums` are those of the transition at `old`. It is the M-step of parameter expansion: what the likelihood knows of
    loadings Θ and a covariance Q of the common noises is Θ Q Θ' alone, so Q may be let go and brought back to the
    identity. The common states start at 0 whatever their units.

    References
    ----------
    Liu, Rubin and Wu, Parameter expansion to accelerate EM: the PX-EM algorithm, Biometrika 85 (1998).
    """
    scatters, counts = noise_scatters(old, rows, sums.residual, sums.count)
    if not counts.sum() > 0.0:
        return new
    scatter = scatters.sum(axis=0) / counts.sum()
    H = np.array(new.observation_matrix)
    for form, place in common_noises(specification):
        values, vectors = np.linalg.eigh(form.expanded(scatter[place, place]))
        root = vectors * np.sqrt(np.maximum(values, 0.0))
        first = form.seen[0]
        loadings = H.reshape(-1, *H.shape[-2:])[0][:, first : first + form.rank]
        _put(H, form.seen, triangular(loadings @ root))
    return new.replaced(observation_matrix=H)


def common_noises(specification: Specification) -> list[tuple[CommonNoise, slice]]:
    """Return the blocks of Q that are noises in common, with their rows."""
    form = specification.forms["transition_cov"]
    blocks = form.blocks if isinstance(form, BlockDiagonal) else ()
    firsts = accumulate((size for _, size in blocks), initial=0)
    return [
        (block, slice(first, first + size))
        for (block, size), first in zip(blocks, firsts, strict=False)
        if isinstance(block, CommonNoise)
    ]


def _principal(drawn: Array, variances: Array, rank: int) -> Array:
    """Return loadings of the given variances by the correlations of the columns of `drawn` (n, p), triangular."""
    size = np.sqrt(np.sum(drawn**2, axis=0))
    scaled = drawn / np.where(size > 0.0, size, 1.0)
    # A column of which nothing is known is on its own.
    correlations = scaled.T @ scaled + np.diag(np.where(size > 0.0, 0.0, 1.0))
    values, vectors = np.linalg.eigh(correlations)
    leading = vectors[:, ::-1][:, :rank] * np.sqrt(np.maximum(values[::-1][:rank], 0.0))
    return triangular(np.sqrt(variances)[:, None] * leading)


def with_scattered_loadings(
    specification: Specification, system: LinearGaussianSystem, rng: np.random.Generator
) -> LinearGaussianSystem:
    """Return `system` with what is learnt of H moved at random, each entry by about the size of its row."""
    if not specification.is_free("observation_matrix"):
        return system
    constraint = specification.constraint("observation_matrix")
    moving = np.any(constraint.design != 0.0, axis=1).reshape(specification.shape("observation_matrix"))
    H = system.observation_matrix
    size = np.sqrt(
        np.sum(np.where(moving, H, 0.0) ** 2, axis=-1, keepdims=True) / np.maximum(moving.sum(axis=1), 1)[:, None]
    )
    moved = H + np.where(moving, size * rng.standard_normal(moving.shape), 0.0)
    return system.replaced(observation_matrix=constraint.project(moved))
