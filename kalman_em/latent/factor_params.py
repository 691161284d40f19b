"""The parameters of factor analysis: few factors that columns share, and noise that each has for itself."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from kalman_em.arrays import Array, as_floats, check_shape
from kalman_em.errors import InputError
from kalman_em.latent.gaussians import Gaussians
from kalman_em.linalg import symmetrised


@dataclass(frozen=True, eq=False)
class FactorParams:
    """What y = mean + loadings z + noise needs, z ~ N(0, I).

    Parameters
    ----------
    mean : array_like, shape (p,)
    loadings : array_like, shape (p, q)
    noise_variances : array_like, shape (p,)
        None below 0.

    Raises
    ------
    InputError
        If a shape is wrong, or a variance is below 0.

    Examples
    --------
    >>> FactorParams(mean=[0.0, 0.0], loadings=[[2.0], [1.0]], noise_variances=[1.0, 0.5]).cov.tolist()
    [[5.0, 2.0], [2.0, 1.5]]
    """

    mean: Array
    loadings: Array
    noise_variances: Array

    def __post_init__(self) -> None:
        for name in ("mean", "loadings", "noise_variances"):
            object.__setattr__(self, name, as_floats(getattr(self, name), name))
        if self.loadings.ndim != 2:
            raise InputError(f"loadings: expected shape (p, q), one column a factor, got {self.loadings.shape}")
        check_shape(self.mean, (len(self.loadings),), "mean")
        check_shape(self.noise_variances, (len(self.loadings),), "noise_variances")
        if self.noise_variances.min() < 0.0:
            raise InputError(f"noise_variances: expected none below 0, got {self.noise_variances.min():.3g}")

    @property
    def n_factors(self) -> int:
        """Number of factors, q."""
        return int(self.loadings.shape[1])

    @cached_property
    def cov(self) -> Array:
        """The covariance of a row, shape (p, p)."""
        return cov_of(self.loadings, self.noise_variances)

    @cached_property
    def gaussians(self) -> Gaussians:
        """The distribution of a row, as the only one of its kind."""
        return Gaussians(self.mean[None], self.cov[None])


def cov_of(loadings: Array, noise_variances: Array) -> Array:
    """Return W W' + diag(ψ), for one (p, q) or many (K, p, q)."""
    shared: Array = symmetrised(loadings @ np.swapaxes(loadings, -1, -2))
    p = shared.shape[-1]
    shared[..., np.arange(p), np.arange(p)] += noise_variances
    return shared
