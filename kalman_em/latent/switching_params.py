"""The parameters of a switching linear-Gaussian system."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kalman_em.arrays import Array, as_floats, check_shape, frozen
from kalman_em.errors import InputError
from kalman_em.latent.shares import checked_rows
from kalman_em.linalg import checked_covariance

COEFFICIENTS = ("transition_matrix", "observation_matrix")
OFFSETS = ("transition_offset", "observation_offset")
COVARIANCES = ("transition_cov", "observation_cov")


@dataclass(frozen=True, eq=False)
class SwitchingParams:
    """Matrices of the system, with a leading axis of K regimes where they switch, and the chain.

    Parameters
    ----------
    transition_matrix, transition_cov : array_like, shape (d, d) or (K, d, d)
    observation_matrix : array_like, shape (p, d) or (K, p, d)
    observation_cov : array_like, shape (p, p) or (K, p, p)
    initial_mean : array_like, shape (d,)
    initial_cov : array_like, shape (d, d)
    regime_initial_probabilities : array_like, shape (K,)
    regime_transition_matrix : array_like, shape (K, K)
    transition_offset : array_like, shape (d,) or (K, d), optional
    observation_offset : array_like, shape (p,) or (K, p), optional
        0 when left out.
    shares : array_like, shape (N, K), optional
        The variational probabilities of the regimes that the next E-step begins with.

    Raises
    ------
    InputError
        If a shape is wrong, a covariance is none, or probabilities are none.
    """

    transition_matrix: Array
    transition_cov: Array
    observation_matrix: Array
    observation_cov: Array
    initial_mean: Array
    initial_cov: Array
    regime_initial_probabilities: Array
    regime_transition_matrix: Array
    transition_offset: Any = None
    observation_offset: Any = None
    shares: Array | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for name in (*COEFFICIENTS, *COVARIANCES, "initial_mean", "initial_cov"):
            object.__setattr__(self, name, as_floats(getattr(self, name), name))
        for name, dim in zip(OFFSETS, (self.state_dim, self.obs_dim), strict=True):
            given = getattr(self, name)
            value = frozen(np.zeros(dim)) if given is None else as_floats(given, name)
            check_shape(value, (self.n_regimes, dim) if value.ndim == 2 else (dim,), name)
            object.__setattr__(self, name, value)
        if self.shares is not None:
            object.__setattr__(self, "shares", as_floats(self.shares, "shares"))
        K, d, p = self.n_regimes, self.state_dim, self.obs_dim
        shapes = {"transition_matrix": (d, d), "transition_cov": (d, d), "observation_matrix": (p, d)}
        for name, shape in (shapes | {"observation_cov": (p, p)}).items():
            value = getattr(self, name)
            check_shape(value, (K, *shape) if value.ndim == 3 else shape, name)
        for name, dim in (("transition_cov", d), ("observation_cov", p), ("initial_cov", d)):
            object.__setattr__(self, name, frozen(checked_covariance(getattr(self, name), dim, name)))
        check_shape(self.initial_mean, (d,), "initial_mean")
        for name, rows in (("regime_initial_probabilities", (K,)), ("regime_transition_matrix", (K, K))):
            object.__setattr__(self, name, checked_rows(getattr(self, name), rows, name))

    @property
    def n_regimes(self) -> int:
        """Number of regimes, K."""
        return len(self.regime_transition_matrix)

    @property
    def state_dim(self) -> int:
        """Number of states, d."""
        return int(self.transition_matrix.shape[-1])

    @property
    def obs_dim(self) -> int:
        """Number of observed columns, p."""
        return int(self.observation_matrix.shape[-2])

    def coefficients_of(self, block: str) -> Array:
        """Return [F b] ("transition") or [H d] ("observation") of every regime, shape (K, ..., d + 1)."""
        matrices, offsets = self.of_regimes(f"{block}_matrix"), self.of_regimes(f"{block}_offset")
        return np.concatenate([matrices, offsets[:, :, None]], axis=2)

    def of_regimes(self, name: str) -> Array:
        """Return a matrix for every regime, shape (K, ...), whether it switches or not."""
        value: Array = getattr(self, name)
        return (
            value
            if value.ndim == (2 if name in OFFSETS else 3)
            else np.broadcast_to(value, (self.n_regimes, *value.shape))
        )


def check_switching(given: object) -> tuple[str, ...]:
    """Return the names of the parameters that switch; `InputError` if one is none."""
    names = (given,) if isinstance(given, str) else given
    known = (*COEFFICIENTS, *COVARIANCES, *OFFSETS)
    if not isinstance(names, tuple | list) or not names or any(name not in known for name in names):
        raise InputError(f"switching: expected names among {', '.join(known)}, got {given!r}")
    return tuple(name for name in known if name in names)
