"""The parameters of a mixture of factor analysers."""

from __future__ import annotations

from dataclasses import dataclass, field

from kalman_em.arrays import Array, as_floats, check_shape
from kalman_em.errors import InputError
from kalman_em.latent.factor_params import cov_of
from kalman_em.latent.mixture_params import MixtureParams


@dataclass(frozen=True, eq=False)
class FactorMixtureParams(MixtureParams):
    """K Gaussians whose covariances are those of factor analysis, W_k W_k' + diag(ψ_k), and their shares.

    Parameters
    ----------
    means : array_like, shape (K, p)
    weights : array_like, shape (K,)
    loadings : array_like, shape (K, p, q)
    noise_variances : array_like, shape (K, p)

    Raises
    ------
    InputError
        If a shape is wrong, a variance is below 0, or the weights are no shares.

    Examples
    --------
    >>> one = FactorMixtureParams(means=[[0.0]], weights=[1.0], loadings=[[[2.0]]], noise_variances=[[1.0]])
    >>> one.covs.tolist()
    [[[5.0]]]
    """

    covs: Array = field(init=False)
    loadings: Array
    noise_variances: Array

    def __post_init__(self) -> None:
        for name in ("means", "loadings", "noise_variances"):
            object.__setattr__(self, name, as_floats(getattr(self, name), name))
        if self.loadings.ndim != 3:
            raise InputError(f"loadings: expected shape (K, p, q), got {self.loadings.shape}")
        check_shape(self.noise_variances, self.loadings.shape[:2], "noise_variances")
        if self.noise_variances.min() < 0.0:
            raise InputError(f"noise_variances: expected none below 0, got {self.noise_variances.min():.3g}")
        object.__setattr__(self, "covs", cov_of(self.loadings, self.noise_variances))
        super().__post_init__()
