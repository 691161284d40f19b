"""Where a mixture can begin: rows split into clusters, by axes of largest spread or by k-means++."""

from __future__ import annotations

import numpy as np

from kalman_em.arrays import Array, IntArray

# A start needs no converged clusters: EM goes on from there.
LLOYD_ITERATIONS = 10
# Beyond so many rows, a random start looks at a random part of them.
SEEDING_ROWS = 20_000


def split_by_axes(points: Array, n_clusters: int) -> IntArray:
    """Return a label for each row: the cluster of largest spread is split along its main axis, again and again.

    Deterministic, and the same however the points are shifted or turned (Su & Dy, In search of deterministic methods
    for initializing k-means and Gaussian mixture clustering, Intelligent Data Analysis 11 (2007): PCA-Part).

    Examples
    --------
    >>> split_by_axes(np.array([[0.0], [9.0], [0.1], [9.1], [30.0]]), 3).tolist()
    [0, 2, 0, 2, 1]
    """
    labels = np.zeros(len(points), dtype=np.int64)
    for new in range(1, n_clusters):
        spreads = [_spread(points[labels == k]) for k in range(new)]
        widest = int(np.argmax(spreads))
        inside = np.flatnonzero(labels == widest)
        off = points[inside] - points[inside].mean(axis=0)
        axis = np.linalg.eigh(off.T @ off)[1][:, -1]
        # The sign of an eigenvector is open; this one does not depend on the library.
        along = off @ (axis * np.sign(axis[np.argmax(np.abs(axis))]))
        labels[inside[along > 0.0]] = new
    return labels


def plus_plus(points: Array, n_clusters: int, rng: np.random.Generator) -> Array:
    """Return `n_clusters` rows drawn one after another, each by its squared distance to those drawn before.

    References
    ----------
    Arthur and Vassilvitskii, k-means++: the advantages of careful seeding, SODA 2007.
    """
    chosen = [points[rng.integers(len(points))]]
    nearest = np.full(len(points), np.inf)
    for _ in range(1, n_clusters):
        nearest = np.minimum(nearest, ((points - chosen[-1]) ** 2).sum(axis=1))
        total = nearest.sum()
        # Fewer distinct rows than clusters: any will do, and EM will say that they collapse.
        at = rng.choice(len(points), p=nearest / total) if total > 0.0 else rng.integers(len(points))
        chosen.append(points[at])
    return np.array(chosen)


def lloyd(points: Array, centres: Array, n_iterations: int = LLOYD_ITERATIONS) -> IntArray:
    """Return the label of the nearest centre for each row, after a few steps of k-means; an empty one stays put."""
    labels = _nearest(points, centres)
    for _ in range(n_iterations):
        counts = np.bincount(labels, minlength=len(centres))
        sums = _one_hot(labels, len(centres)).T @ points
        centres = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], centres)
        before, labels = labels, _nearest(points, centres)
        if np.array_equal(before, labels):
            break
    return labels


def centres_of(points: Array, labels: IntArray, n_clusters: int) -> Array:
    """Return the mean of each cluster; that of all rows for an empty one."""
    counts = np.bincount(labels, minlength=n_clusters)
    sums = _one_hot(labels, n_clusters).T @ points
    return np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], points.mean(axis=0))


def _nearest(points: Array, centres: Array) -> IntArray:
    # |x - c|² less |x|², which is the same for all centres; the points are near 0 already.
    return np.asarray(((centres**2).sum(axis=1) - 2.0 * points @ centres.T).argmin(axis=1))


def _one_hot(labels: IntArray, n: int) -> Array:
    result = np.zeros((len(labels), n))
    result[np.arange(len(labels)), labels] = 1.0
    return result


def _spread(points: Array) -> float:
    return float(((points - points.mean(axis=0)) ** 2).sum())
