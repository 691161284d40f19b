"""From clusters of rows to the parameters that a mixture begins with."""

from __future__ import annotations

import numpy as np

from kalman_em.arrays import Array, IntArray
from kalman_em.latent.clustering import SEEDING_ROWS, centres_of, lloyd, plus_plus, split_by_axes
from kalman_em.latent.covariances import ComponentStep
from kalman_em.latent.gaussians import Gaussians
from kalman_em.latent.rows import PatternedRows
from kalman_em.linalg import symmetrised


def standardised(rows: PatternedRows) -> Array:
    """Return the rows in units of each column's standard deviation, about 0; what is missing is 0, the mean.

    For starts alone: EM itself fills in nothing.
    """
    unit = np.where(rows.scale > 0.0, rows.scale, 1.0)
    return np.nan_to_num(rows.completed() / unit, nan=0.0, posinf=0.0, neginf=0.0)


def first_labels(rows: PatternedRows, n_clusters: int) -> IntArray:
    """Return a cluster for each row, the same at every call."""
    points = standardised(rows)
    split = split_by_axes(points, n_clusters)
    return lloyd(points, centres_of(points, split, n_clusters))


def drawn_labels(rows: PatternedRows, n_clusters: int, rng: np.random.Generator) -> IntArray:
    """Return a cluster for each row, by k-means++ and a few steps of k-means."""
    points = standardised(rows)
    some = points if len(points) <= SEEDING_ROWS else points[rng.choice(len(points), SEEDING_ROWS, replace=False)]
    centres = plus_plus(some, n_clusters, rng)
    return lloyd(points, centres_of(some, lloyd(some, centres), n_clusters), 1)


def gaussians_at_labels(rows: PatternedRows, labels: IntArray, step: ComponentStep) -> tuple[Array, Gaussians]:
    """Return the number of rows in each cluster and Gaussians like them, none of them singular.

    The scatter of a small cluster is drawn towards that within all clusters, as if it had p + 1 rows more of it.
    """
    unit = np.where(rows.scale > 0.0, rows.scale, 1.0)
    points, K, p = standardised(rows), step.n_components, rows.dim
    centres = centres_of(points, labels, K)
    off = points - centres[labels]
    counts = np.bincount(labels, minlength=K).astype(float)
    sums = np.array([off[labels == k].T @ off[labels == k] for k in range(K)])
    within = _regular(sums.sum(axis=0) / len(points), points)
    scatters = (sums + (p + 1.0) * within) / (counts + p + 1.0)[:, None, None]
    scatters = symmetrised(scatters * unit[:, None] * unit)
    covs = step.most_likely(np.maximum(counts, 1.0), scatters, scatters)
    return counts, Gaussians(rows.centre + centres * unit, covs)


def gaussians_at_rows(rows: PatternedRows, n: int, step: ComponentStep, rng: np.random.Generator) -> Gaussians:
    """Return Gaussians at rows drawn at random, each with the scatter of all rows."""
    unit = np.where(rows.scale > 0.0, rows.scale, 1.0)
    points = standardised(rows)
    chosen = points[rng.choice(len(points), n, replace=len(points) < n)]
    scatter = symmetrised(_regular(points.T @ points / len(points), points) * unit[:, None] * unit)
    scatters = np.broadcast_to(scatter, (n, *scatter.shape)).copy()
    return Gaussians(rows.centre + chosen * unit, step.most_likely(np.ones(n), scatters, scatters))


def _regular(within: Array, points: Array) -> Array:
    """Return a scatter that a start can have: with a tenth of each column's own variance along the diagonal.

    What is missing counted as the mean, so no column may seem to vary less than it does.
    """
    own = np.maximum(np.diagonal(points.T @ points) / len(points), np.finfo(float).tiny)
    result: Array = 0.9 * within + 0.1 * np.diag(own)
    return result
