"""The Gaussian distributions of components or regimes, and how far they moved."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kalman_em.arrays import Array, as_floats, check_shape, frozen
from kalman_em.errors import InputError
from kalman_em.linalg import checked_covariance, square_roots


@dataclass(frozen=True, eq=False)
class Gaussians:
    """K Gaussian distributions over p columns.

    Parameters
    ----------
    means : array_like, shape (K, p)
    covs : array_like, shape (K, p, p)

    Raises
    ------
    InputError
        If a shape is wrong, or a covariance is not symmetric and positive semi-definite.

    Examples
    --------
    >>> Gaussians(means=[[0.0], [1.0]], covs=[[[1.0]], [[2.0]]]).n_components
    2
    """

    means: Array
    covs: Array

    def __post_init__(self) -> None:
        means, covs = as_floats(self.means, "means"), as_floats(self.covs, "covs")
        if means.ndim != 2:
            raise InputError(f"means: expected shape (K, p), one row a component, got {means.shape}")
        check_shape(covs, (*means.shape, means.shape[1]), "covs")
        object.__setattr__(self, "means", means)
        object.__setattr__(self, "covs", frozen(checked_covariance(covs, means.shape[1], "covs")))

    @property
    def n_components(self) -> int:
        """Number of distributions, K."""
        return int(self.means.shape[0])

    @property
    def dim(self) -> int:
        """Number of columns, p."""
        return int(self.means.shape[1])

    def sample(self, labels: Array, rng: np.random.Generator) -> Array:
        """Return a draw from the distribution of each of `labels` (n,), shape (n, p)."""
        noise = rng.standard_normal((len(labels), self.dim))
        moved: Array = self.means[labels] + (square_roots(self.covs)[labels] @ noise[:, :, None])[:, :, 0]
        return moved


def largest_move(old: Gaussians, new: Gaussians) -> float:
    """Return the largest change of means in standard deviations, and of covariances relative to variances.

    Free of the units of the data and of where their zero lies.

    Examples
    --------
    >>> old = Gaussians(means=[[5.0]], covs=[[[4.0]]])
    >>> largest_move(old, Gaussians(means=[[6.0]], covs=[[[4.4]]]))
    0.5
    """
    deviations = np.sqrt(np.diagonal(old.covs, axis1=1, axis2=2))
    with np.errstate(divide="ignore", invalid="ignore"):
        means = np.abs(new.means - old.means) / deviations
        covs = np.abs(new.covs - old.covs) / (deviations[:, :, None] * deviations[:, None, :])
    # 0 / 0: a variance held at 0 that stayed there.
    still = [np.where(new.means == old.means, 0.0, means), np.where(new.covs == old.covs, 0.0, covs)]
    return float(max(part.max() for part in still))
