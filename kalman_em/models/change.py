"""How far parameters moved, in units of their own: free of the units of the data and of the states."""

from __future__ import annotations

import numpy as np

from kalman_em.arrays import Array, BoolArray
from kalman_em.linalg import symmetrised
from kalman_em.models.specification import COEFFICIENTS, COVARIANCES, Specification
from kalman_em.systems import LinearGaussianSystem


def largest_change(
    specification: Specification, old: LinearGaussianSystem, new: LinearGaussianSystem, scale: Array
) -> float:
    """Return the largest change of any learnt number.

    Covariances: |ΔC_ij| / sqrt(C_ii C_jj). Matrices: relative to their largest entry, in units of the data
    (`scale`) and of the state noise. Offsets: in those units, or relative where they are larger. The initial mean: by
    what it does to the first prediction.
    """
    changes = [
        _covariance_change(getattr(old, name), getattr(new, name))
        for name in COVARIANCES
        if specification.is_free(name)
    ]
    units = coefficient_units(specification, new, scale)
    for name in COEFFICIENTS:
        if not specification.is_free(name):
            continue
        difference = np.abs((getattr(new, name) - getattr(old, name)) / units[name]).max(initial=0.0)
        if name == "initial_mean":
            moved = np.atleast_2d(new.initial_mean - old.initial_mean)
            difference = np.abs(moved @ _first(new.observation_matrix, 2).T / scale).max()
            size = 1.0
        else:
            sizes = np.abs(getattr(new, name) / units[name])
            if name == "observation_matrix":
                # A state that nothing learnt sees, such as a constant without noise, has no unit here.
                sizes = sizes[..., _moving_columns(specification, name)]
            size = sizes.max(initial=0.0)
            size = max(size, 1.0) if not name.endswith("matrix") else (size if size > 0.0 else 1.0)
        changes.append(float(difference / size))
    return max(changes, default=0.0)


def _moving_columns(specification: Specification, name: str) -> BoolArray:
    """Return which columns of a matrix have an entry that is learnt."""
    design = specification.constraint(name).design
    return np.asarray(np.any(design.reshape(*specification.shape(name), -1) != 0.0, axis=(0, 2)))


def largest_invariant_change(old: LinearGaussianSystem, new: LinearGaussianSystem, scale: Array) -> float:
    """Return the largest change of what no change of basis of the states touches.

    The covariances that the state noise brings to the observations now and one and two steps later, H F^k Q H', the
    offsets as they are observed, the first prediction, and R, all in units of the data.
    """
    change = _covariance_change(old.observation_cov, new.observation_cov)
    before, after = _invariants(old, scale), _invariants(new, scale)
    size = np.sqrt(np.maximum(np.diagonal(after[0]), 0.0))
    unit = np.outer(size, size)
    for left, right in zip(before[:3], after[:3], strict=True):
        change = max(change, float(np.max(np.abs(right - left) / np.where(unit > 0.0, unit, 1.0))))
    return max(change, float(np.max(np.abs(after[3] - before[3]) / np.maximum(np.abs(after[3]), 1.0))))


def coefficient_units(specification: Specification, system: LinearGaussianSystem, scale: Array) -> dict[str, Array]:
    """Return the unit of every coefficient: of its row over that of its column."""
    state = _state_unit(system)
    return {
        "transition_matrix": state[:, None] / state[None, :],
        "transition_offset": state,
        "transition_input": np.broadcast_to(state[:, None], (len(state), specification.input_dim)),
        "observation_matrix": scale[:, None] / state[None, :],
        "observation_offset": scale,
        "observation_input": np.broadcast_to(scale[:, None], (len(scale), specification.input_dim)),
        "initial_mean": state,
    }


def _state_unit(system: LinearGaussianSystem) -> Array:
    """Return the standard deviations of the state noise, 1 where there is none."""
    cov, G = _first(system.transition_cov, 2), system.noise_selection
    noise = cov if G is None else symmetrised(_first(G, 2) @ cov @ _first(G, 2).T)
    deviation = np.sqrt(np.diagonal(noise))
    result: Array = np.where(deviation > 0.0, deviation, 1.0)
    return result


def _invariants(system: LinearGaussianSystem, scale: Array) -> tuple[Array, Array, Array, Array]:
    H, F, Q = _first(system.observation_matrix, 2), system.transition_matrix, _first(system.transition_cov, 2)
    H = H / scale[:, None]
    own = system.by_series
    b, d = system.transition_offset, system.observation_offset
    seen = np.concatenate(
        [
            (np.atleast_2d(system.initial_mean) @ H.T).ravel(),
            (np.atleast_2d(_first(b, 2 if "transition_offset" in own else 1)) @ H.T).ravel(),
            (_first(d, 2 if "observation_offset" in own else 1) / scale).ravel(),
        ]
    )
    return H @ Q @ H.T, H @ F @ Q @ H.T, H @ F @ F @ Q @ H.T, seen


def _covariance_change(old: Array, new: Array) -> float:
    """Return the largest |ΔC_ij| / sqrt(C_ii C_jj)."""
    deviation = np.sqrt(np.maximum(np.diagonal(new, axis1=-2, axis2=-1), np.diagonal(old, axis1=-2, axis2=-1)))
    unit = deviation[..., :, None] * deviation[..., None, :]
    return float(np.max(np.abs(new - old) / np.where(unit > 0.0, unit, 1.0), initial=0.0))


def _first(array: Array | None, ndim: int) -> Array:
    assert array is not None  # the system fills offsets in
    return array if array.ndim == ndim else array[0]
