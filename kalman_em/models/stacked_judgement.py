"""How far the parameters of many series moved, and which of their likelihoods run away: each as for one series."""

from __future__ import annotations

import numpy as np

from kalman_em.arrays import Array, BoolArray
from kalman_em.em.forms import Fixed
from kalman_em.em.noise import learnt_rows
from kalman_em.inference.stacks import SystemStack
from kalman_em.linalg import smallest_scaled_eigenvalue
from kalman_em.models.degeneracy import EXACT, LOST, LOST_ALONE, VANISHED, holds_all, predict_together
from kalman_em.models.specification import COVARIANCES, Specification


def changes_each(specification: Specification, old: SystemStack, new: SystemStack, scale: Array) -> Array:
    """Return `parameter_change` of every series (N,); `scale` (N, p) is the unit of its data."""
    if specification.basis_is_free:
        return _invariant_changes(old, new, scale)
    return _largest_changes(specification, old, new, scale)


def degenerate_each(specification: Specification, params: SystemStack, scale: Array) -> BoolArray:
    """Return `is_degenerate` of every series (N,), each by itself."""
    learnt = [name for name in ("transition_cov", "observation_cov") if specification.is_free(name)]
    found = np.zeros(len(params), dtype=bool)
    for name in learnt:
        covs = getattr(params, name)
        for rows in learnt_rows(specification.covariance(name), covs.shape[1]):
            found |= _have_lost_a_direction(covs[:, rows, rows])
    if "observation_cov" not in learnt and holds_all(params.observation_cov[0]):
        return found
    H, Q, R = params.observation_matrix, params.noise_cov, params.observation_cov
    moved = H @ Q @ _turned(H)
    later = moved + R
    gone = _variances(later) < VANISHED * scale**2
    if "transition_cov" not in learnt:
        gone &= (_variances(moved) == 0.0) & (_variances(R) > 0.0)
    found |= np.any(gone, axis=1)
    if "observation_cov" in learnt:
        found |= predict_together(H, Q, R)
    start_learnt = any(specification.is_free(name) for name in ("initial_mean", "initial_cov"))
    if params.like.has_diffuse or not start_learnt:
        return found
    P = params.initial_cov
    if specification.initial_step == "before":
        P = params.transition_matrix @ P @ _turned(params.transition_matrix) + Q
    first = H @ P @ _turned(H) + R
    deviation = np.sqrt(_variances(later))
    sound = np.all(deviation > 0.0, axis=1) & ~found
    unit = deviation[sound, :, None] * deviation[sound, None, :]
    values, vectors = np.linalg.eigh(first[sound] / unit)
    weakest = vectors[:, :, 0]
    spread = np.einsum("ni,nij,nj->n", weakest, later[sound] / unit, weakest)
    lost = values[:, 0] < LOST_ALONE * spread
    is_stated = "observation_cov" not in learnt and isinstance(specification.forms["initial_cov"], Fixed)
    if is_stated and specification.initial_step != "before":
        lost &= values[:, 0] >= EXACT
    found[sound] |= lost
    return found


def _have_lost_a_direction(covs: Array) -> BoolArray:
    kept = _variances(covs) > 0.0
    several = kept.sum(axis=1) > 1
    whole = kept.all(axis=1) & several
    lost = np.zeros(len(covs), dtype=bool)
    if whole.any():
        lost[whole] = smallest_scaled_eigenvalue(covs[whole]) < LOST
    for k in np.flatnonzero(several & ~whole):
        lost[k] = smallest_scaled_eigenvalue(covs[k][np.ix_(kept[k], kept[k])]) < LOST
    return lost


def _largest_changes(specification: Specification, old: SystemStack, new: SystemStack, scale: Array) -> Array:
    result = np.zeros(len(new))
    for name in COVARIANCES:
        if specification.is_free(name):
            result = np.maximum(result, _covariance_changes(getattr(old, name), getattr(new, name)))
    deviation = np.sqrt(_variances(new.noise_cov))
    state = np.where(deviation > 0.0, deviation, 1.0)
    units = {
        "transition_matrix": state[:, :, None] / state[:, None, :],
        "transition_offset": state,
        "observation_matrix": scale[:, :, None] / state[:, None, :],
        "observation_offset": scale,
    }
    for name, unit in units.items():
        if specification.is_free(name):
            difference = _largest(np.abs((getattr(new, name) - getattr(old, name)) / unit))
            size = _largest(np.abs(getattr(new, name) / unit))
            size = np.where(size > 0.0, size, 1.0) if name.endswith("matrix") else np.maximum(size, 1.0)
            result = np.maximum(result, difference / size)
    if specification.is_free("initial_mean"):
        moved = (new.initial_mean - old.initial_mean)[:, :, None]
        seen = (new.observation_matrix @ moved)[:, :, 0] / scale
        result = np.maximum(result, _largest(np.abs(seen)))
    return result


def _invariant_changes(old: SystemStack, new: SystemStack, scale: Array) -> Array:
    change = _covariance_changes(old.observation_cov, new.observation_cov)
    before, after = _invariants(old, scale), _invariants(new, scale)
    size = np.sqrt(np.maximum(_variances(after[0]), 0.0))
    unit = size[:, :, None] * size[:, None, :]
    unit = np.where(unit > 0.0, unit, 1.0)
    for left, right in zip(before[:3], after[:3], strict=True):
        change = np.maximum(change, _largest(np.abs(right - left) / unit))
    seen = np.abs(after[3] - before[3]) / np.maximum(np.abs(after[3]), 1.0)
    return np.maximum(change, _largest(seen))


def _invariants(stack: SystemStack, scale: Array) -> tuple[Array, Array, Array, Array]:
    H, F, Q = stack.observation_matrix / scale[:, :, None], stack.transition_matrix, stack.transition_cov
    seen = [
        (H @ stack.initial_mean[:, :, None])[:, :, 0],
        (H @ stack.transition_offset[:, :, None])[:, :, 0],
        stack.observation_offset / scale,
    ]
    turned = _turned(H)
    return H @ Q @ turned, H @ F @ Q @ turned, H @ F @ F @ Q @ turned, np.concatenate(seen, axis=1)


def _covariance_changes(old: Array, new: Array) -> Array:
    deviation = np.sqrt(np.maximum(_variances(new), _variances(old)))
    unit = deviation[:, :, None] * deviation[:, None, :]
    return _largest(np.abs(new - old) / np.where(unit > 0.0, unit, 1.0))


def _variances(covs: Array) -> Array:
    return np.diagonal(covs, axis1=1, axis2=2)


def _turned(matrices: Array) -> Array:
    return np.swapaxes(matrices, 1, 2)


def _largest(array: Array) -> Array:
    result: Array = array.reshape(len(array), -1).max(axis=1, initial=0.0)
    return result
