"""The parameters of a Gaussian mixture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kalman_em.arrays import Array, as_floats, check_shape
from kalman_em.errors import InputError
from kalman_em.latent.gaussians import Gaussians


@dataclass(frozen=True, eq=False)
class MixtureParams(Gaussians):
    """K Gaussians and the share of rows that each has.

    Parameters
    ----------
    means : array_like, shape (K, p)
    covs : array_like, shape (K, p, p)
    weights : array_like, shape (K,)
        Not below 0, with sum 1.

    Raises
    ------
    InputError
        If a shape is wrong, a covariance is none, or the weights are no shares.

    Examples
    --------
    >>> MixtureParams(means=[[0.0], [1.0]], covs=[[[1.0]], [[2.0]]], weights=[0.5, 0.5]).weights.tolist()
    [0.5, 0.5]
    """

    weights: Array

    def __post_init__(self) -> None:
        super().__post_init__()
        weights = as_floats(self.weights, "weights")
        check_shape(weights, (self.n_components,), "weights")
        if weights.min() < 0.0 or abs(weights.sum() - 1.0) > 1e-9:
            raise InputError(f"weights: expected shares of at least 0 with sum 1, got {weights.tolist()}")
        object.__setattr__(self, "weights", weights)

    @property
    def log_weights(self) -> Array:
        """The logarithms of the weights, -inf for a weight of 0."""
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self.weights))
