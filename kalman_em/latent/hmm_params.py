"""The parameters of a Gaussian hidden Markov model."""

from __future__ import annotations

from dataclasses import dataclass

from kalman_em.arrays import Array
from kalman_em.latent.gaussians import Gaussians
from kalman_em.latent.shares import checked_rows


@dataclass(frozen=True, eq=False)
class HMMParams(Gaussians):
    """K Gaussians, one a regime, and the Markov chain that the regimes follow.

    Parameters
    ----------
    means : array_like, shape (K, p)
    covs : array_like, shape (K, p, p)
    initial_probabilities : array_like, shape (K,)
        Of the regime at the first row of a series.
    transition_matrix : array_like, shape (K, K)
        Entry (i, j) is P(regime j at the next row | regime i at this one); rows add up to 1.

    Raises
    ------
    InputError
        If a shape is wrong, a covariance is none, or probabilities are none.

    Examples
    --------
    >>> pair = HMMParams(
    ...     means=[[0.0], [1.0]], covs=[[[1.0]], [[2.0]]],
    ...     initial_probabilities=[0.5, 0.5], transition_matrix=[[0.9, 0.1], [0.2, 0.8]])
    >>> pair.n_components
    2
    """

    initial_probabilities: Array
    transition_matrix: Array

    def __post_init__(self) -> None:
        super().__post_init__()
        K = self.n_components
        for name, shape in (("initial_probabilities", (K,)), ("transition_matrix", (K, K))):
            object.__setattr__(self, name, checked_rows(getattr(self, name), shape, name))
