"""Expected moments of rows by component: what the M-step of Gaussian components needs, and how parts of them add up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kalman_em.arrays import Array
from kalman_em.latent.gaussians import Gaussians
from kalman_em.linalg import symmetrised


@dataclass(frozen=True, eq=False)
class Moments:
    """The moments of the rows that belong to each of K components, in expectation.

    Missing entries count with their conditional mean and covariance given the observed ones.

    Attributes
    ----------
    counts : ndarray, shape (K,)
        Expected number of rows.
    means : ndarray, shape (K, p)
        Their mean.
    scatters : ndarray, shape (K, p, p)
        Their mean outer product about `means`.
    """

    counts: Array
    means: Array
    scatters: Array


def combined(parts: Sequence[tuple[float, Moments]]) -> Moments:
    """Return the moments of all rows together, those of each part counted so many times.

    By the shift of a scatter to another mean, S + (a - b)(a - b)': nothing large is subtracted.

    Examples
    --------
    >>> one = Moments(np.array([1.0]), np.array([[0.0]]), np.array([[[1.0]]]))
    >>> other = Moments(np.array([1.0]), np.array([[2.0]]), np.array([[[1.0]]]))
    >>> both = combined([(1.0, one), (1.0, other)])
    >>> both.counts.tolist(), both.means.tolist(), both.scatters.tolist()
    ([2.0], [[1.0]], [[[2.0]]])
    """
    counts = np.array([times * part.counts for times, part in parts])
    total = counts.sum(axis=0)
    empty = total <= 0.0
    shares = np.where(empty, 1.0 / len(parts), counts / np.where(empty, 1.0, total))
    # From the first part's mean, so that data far from 0 keep their digits.
    base = parts[0][1].means
    means = base + sum(share[:, None] * (part.means - base) for share, (_, part) in zip(shares, parts, strict=True))
    scatters = np.zeros_like(parts[0][1].scatters)
    for share, (_, part) in zip(shares, parts, strict=True):
        off = part.means - means
        scatters += share[:, None, None] * (part.scatters + off[:, :, None] * off[:, None, :])
    return Moments(total, means, symmetrised(scatters))


def expected_log_density(gaussians: Gaussians, moments: Moments) -> float:
    """Return Σ_k n_k E[log N(x; μ_k, Σ_k)] over the rows with these moments; -inf where a covariance is singular.

    Examples
    --------
    >>> standard = Gaussians(means=[[0.0]], covs=[[[1.0]]])
    >>> round(expected_log_density(standard, Moments(np.array([2.0]), np.array([[0.0]]), np.array([[[1.0]]]))), 6)
    -2.837877
    """
    off = moments.means - gaussians.means
    scatters = moments.scatters + off[:, :, None] * off[:, None, :]
    deviations = np.sqrt(np.diagonal(gaussians.covs, axis1=1, axis2=2))
    if not (deviations > 0.0).all():
        return -np.inf
    unit = deviations[:, :, None] * deviations[:, None, :]
    signs, log_dets = np.linalg.slogdet(gaussians.covs / unit)
    if not (signs > 0.0).all():
        return -np.inf
    log_dets = log_dets + 2.0 * np.log(deviations).sum(axis=1)
    spread = np.trace(np.linalg.solve(gaussians.covs / unit, scatters / unit), axis1=1, axis2=2)
    each = -0.5 * (gaussians.dim * np.log(2.0 * np.pi) + log_dets + spread)
    return float(moments.counts @ each)
