"""The posterior of the parameters of a linear-Gaussian system: Gaussian coefficients, gamma precisions."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import scipy

from kalman_em.arrays import Array, as_floats, check_shape
from kalman_em.errors import InputError
from kalman_em.linalg import checked_covariance


@dataclass(frozen=True, eq=False)
class VariationalSystem:
    """q(F) q(H, d, ρ) q(α) q(γ) q(λ), of which each factor is the best given the others at the end.

    A gamma factor has mean shape / rate.

    Parameters
    ----------
    transition_means : array_like, shape (d, d)
        Means of F.
    transition_cov : array_like, shape (d, d)
        The covariance of every row of F.
    observation_means : array_like, shape (p, d + 1)
        Means of [H d], the offset last.
    observation_covs : array_like, shape (p, d + 1, d + 1)
        The covariance of each row of [H d], over the noise variance 1 / ρ of its column.
    noise_shapes, noise_rates : array_like, shape (p,)
        Of ρ, the precision of the noise of each column.
    transition_relevance_shapes, transition_relevance_rates : array_like, shape (d,)
        Of α, the prior precision of each column of F.
    observation_relevance_shapes, observation_relevance_rates : array_like, shape (d + 1,)
        Of γ, the prior precision of each column of [H d] over ρ.
    initial_shape, initial_rate : float
        Of λ, the precision of the states at the first row.

    Attributes
    ----------
    turned : ndarray, shape (d, d)
        The change of basis of the states that led here in the latest M-step; the identity where there was none.

    Raises
    ------
    InputError
        If a shape is wrong, a covariance is none, or a shape or rate is not above 0.
    """

    transition_means: Array
    transition_cov: Array
    observation_means: Array
    observation_covs: Array
    noise_shapes: Array
    noise_rates: Array
    transition_relevance_shapes: Array
    transition_relevance_rates: Array
    observation_relevance_shapes: Array
    observation_relevance_rates: Array
    initial_shape: Array
    initial_rate: Array
    turned: Array = field(init=False, repr=False)

    def __post_init__(self) -> None:
        means = as_floats(self.transition_means, "transition_means")
        rows = as_floats(self.observation_means, "observation_means")
        if means.ndim != 2 or rows.ndim != 2:
            raise InputError(
                f"transition_means, observation_means: expected tables, got shapes {means.shape}, {rows.shape}"
            )
        d, p = len(means), len(rows)
        checked: dict[str, tuple[Array, tuple[int, ...]]] = {
            "transition_means": (means, (d, d)),
            "observation_means": (rows, (p, d + 1)),
        }
        for kind, size in (("noise", p), ("transition_relevance", d), ("observation_relevance", d + 1)):
            for end in ("shapes", "rates"):
                checked[f"{kind}_{end}"] = as_floats(getattr(self, f"{kind}_{end}"), f"{kind}_{end}"), (size,)
        for name in ("initial_shape", "initial_rate"):
            checked[name] = as_floats(getattr(self, name), name), ()
        for name, (value, shape) in checked.items():
            check_shape(value, shape, name)
            if name.endswith(("shapes", "rates", "shape", "rate")) and value.min() <= 0.0:
                raise InputError(f"{name}: expected numbers above 0, got {value.tolist()}")
            object.__setattr__(self, name, value)
        for name, size in (("transition_cov", d), ("observation_covs", d + 1)):
            value = as_floats(getattr(self, name), name)
            check_shape(value, (size, size) if name == "transition_cov" else (p, size, size), name)
            object.__setattr__(self, name, checked_covariance(value, size, name))
        object.__setattr__(self, "turned", np.eye(d))

    @property
    def state_dim(self) -> int:
        """Number of states, d."""
        return len(self.transition_means)

    @property
    def obs_dim(self) -> int:
        """Number of columns, p."""
        return len(self.observation_means)

    @property
    def noise_precisions(self) -> Array:
        """E[ρ], shape (p,)."""
        result: Array = self.noise_rates**-1 * self.noise_shapes
        return result

    @property
    def transition_relevances(self) -> Array:
        """E[α], shape (d,): large where a column of F is held at 0."""
        result: Array = self.transition_relevance_shapes / self.transition_relevance_rates
        return result

    @property
    def observation_relevances(self) -> Array:
        """E[γ], shape (d + 1,): large where a column of [H d] is held at 0."""
        result: Array = self.observation_relevance_shapes / self.observation_relevance_rates
        return result

    @property
    def initial_precision(self) -> float:
        """E[λ]."""
        return float(self.initial_shape / self.initial_rate)

    @property
    def relevance(self) -> Array:
        """How much of a state's columns of F and H the data tell, 0 (the prior alone) to 1, shape (d,).

        The larger of 1 - E[α_j] Var[f_ij] and of the mean of 1 - E[γ_j] V_ijj over the columns: the well-determined
        share of MacKay, Bayesian interpolation, Neural Computation 4 (1992), section 3.
        """
        moves = 1.0 - self.transition_relevances * np.diagonal(self.transition_cov)
        spread = np.diagonal(self.observation_covs, axis1=1, axis2=2).mean(axis=0)
        seen = 1.0 - (self.observation_relevances * spread)[:-1]
        result: Array = np.clip(np.maximum(moves, seen), 0.0, 1.0)
        return result

    def after(self, turned: Array) -> VariationalSystem:
        """Return the same posterior, to which a change of basis `turned` (d, d) has led."""
        copy = object.__new__(VariationalSystem)
        copy.__dict__.update(self.__dict__ | {"turned": turned})
        return copy


@dataclass(frozen=True, eq=False)
class SystemPrior:
    """The numbers of the prior: shape and rate of gammas, and where offsets are measured from.

    Attributes
    ----------
    relevance : (float, float)
        Of α and γ.
    noise_shape, noise_rates : float and ndarray of shape (p,)
        Of ρ.
    initial : (float, float)
        Of λ.
    offset : ndarray, shape (p,)
        The prior means of the offsets.
    """

    relevance: tuple[float, float]
    noise_shape: float
    noise_rates: Array
    initial: tuple[float, float]
    offset: Array


def expected_log(shapes: Array, rates: Array) -> Array:
    """Return E[log x] of gammas.

    Examples
    --------
    >>> expected_log(np.array(1.0), np.array(1.0)).round(6).item()       # minus Euler's constant
    -0.577216
    """
    result: Array = scipy.special.digamma(shapes) - np.log(rates)
    return result


def gamma_divergence(shapes: Array, rates: Array, prior_shape: float, prior_rates: Array | float) -> float:
    """Return the sum of KL(Gamma(shape, rate), Gamma(prior shape, prior rate)) over all entries.

    Examples
    --------
    >>> gamma_divergence(np.array([2.0]), np.array([3.0]), 2.0, 3.0)
    0.0
    """
    log_norms = scipy.special.gammaln(shapes) - scipy.special.gammaln(prior_shape)
    moved = (shapes - prior_shape) * scipy.special.digamma(shapes)
    scaled = prior_shape * np.log(rates / prior_rates) + shapes * (prior_rates - rates) / rates
    return float(np.sum(moved - log_norms + scaled))
