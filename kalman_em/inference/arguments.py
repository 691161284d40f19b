"""What the functions of this layer take, checked at their doors."""

from __future__ import annotations

from typing import Any

import numpy as np

from kalman_em.errors import InputError
from kalman_em.observations import Observations, Panel
from kalman_em.posteriors import FilteredStates
from kalman_em.systems import LinearGaussianSystem


def check_system(system: Any) -> None:
    """Raise `InputError` unless `system` is a `LinearGaussianSystem`."""
    if not isinstance(system, LinearGaussianSystem):
        hint = "; pass its .system" if isinstance(getattr(system, "system", None), LinearGaussianSystem) else ""
        raise InputError(f"system: expected a LinearGaussianSystem, got {type(system).__name__}{hint}")
    if system.by_series:
        raise InputError(
            f"system: expected that of one series, got one with {system.n_series} entries of "
            f"{', '.join(system.by_series)}; choose one with system.of_series(position)"
        )


def check_observations(system: LinearGaussianSystem, observations: Any) -> None:
    """Raise `InputError` unless `observations` are `Observations` with the columns and inputs of `system`."""
    if isinstance(observations, Panel):
        raise InputError("observations: expected Observations, got a Panel; pass one of its series, as panel[key]")
    if not isinstance(observations, Observations):
        hint = "; wrap an array in kalman_em.Observations" if hasattr(observations, "__array__") else ""
        raise InputError(f"observations: expected Observations, got {type(observations).__name__}{hint}")
    if observations.obs_dim != system.obs_dim:
        raise InputError(
            f"observations: expected {system.obs_dim} column{'' if system.obs_dim == 1 else 's'}, as many as the "
            f"system's observation_matrix has rows, got {observations.obs_dim}"
        )
    if observations.input_dim != system.input_dim:
        expected = f"{system.input_dim} columns for the system's input matrices" if system.input_dim else "none"
        reason = "" if system.input_dim else ", because the system has no input matrix"
        raise InputError(f"inputs: expected {expected}, got {observations.input_dim or 'none'}{reason}")


def check_filtered(system: LinearGaussianSystem, filtered: Any) -> None:
    """Raise `InputError` unless `filtered` are `FilteredStates` of the dimensions of `system`."""
    if not isinstance(filtered, FilteredStates):
        raise InputError(
            f"filtered: expected FilteredStates, as kalman_filter returns them, got {type(filtered).__name__}"
        )
    d, p = filtered.filtered_means.shape[1], filtered.n_columns
    if d != system.state_dim:
        raise InputError(f"filtered: expected states of dimension {system.state_dim}, as the system's, got {d}")
    if p != system.obs_dim:
        raise InputError(f"filtered: expected observations of {system.obs_dim} columns, as the system's, got {p}")


def check_generator(rng: Any) -> None:
    """Raise `InputError` unless `rng` is a `numpy.random.Generator`."""
    if not isinstance(rng, np.random.Generator):
        raise InputError(
            f"rng: expected a numpy.random.Generator, as numpy.random.default_rng(seed) gives, got {type(rng).__name__}"
        )


def as_generator(rng: Any) -> np.random.Generator:
    """Return `rng`, or a fresh generator for None; `InputError` if it is none."""
    if rng is None:
        return np.random.default_rng()
    check_generator(rng)
    return rng  # type: ignore[no-any-return]
