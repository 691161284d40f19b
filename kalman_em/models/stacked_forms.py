"""Which specifications can be learnt for many series at once, and their covariance forms over a leading axis."""

from __future__ import annotations

from typing import Any

import numpy as np

from kalman_em.arrays import Array
from kalman_em.em.constraints import join
from kalman_em.em.forms import BlockDiagonal, Diagonal, Fixed, Full, Isotropic
from kalman_em.em.regression import SILENT
from kalman_em.em.repeated import Repeated
from kalman_em.inference.blocks import WIDE
from kalman_em.inference.rows import noise_covs
from kalman_em.linalg import smallest_scaled_eigenvalue, symmetrised
from kalman_em.models.degeneracy import holds_all
from kalman_em.models.specification import Specification
from kalman_em.systems import LinearGaussianSystem


def can_be_stacked(specification: Specification, system: LinearGaussianSystem) -> bool:
    """Return whether series of this specification, with systems such as `system`, can be learnt at once.

    That is: no inputs, nothing that varies in time, few columns, covariances of the simple forms, and coefficients
    whose columns are wholly free or wholly fixed, so that the M-step is one solve.
    """
    if specification.input_dim or specification.obs_dim >= WIDE or not system.is_constant:
        return False
    if system.transition_gaps is not None or not has_simple_noises(specification):
        return False
    # A diffuse likelihood may run away there, which is watched for in one series at a time.
    is_watched = specification.is_free("transition_matrix") or specification.is_free("observation_matrix")
    if is_watched and specification.initial.diffuse.any():
        return False
    # What EM cannot move is set from the likelihood of one series at a time.
    for kind, cov in (("transition", noise_covs(system)), ("observation", system.observation_cov)):
        if specification.is_free(f"{kind}_offset") and smallest_scaled_eigenvalue(cov) < SILENT:
            return False
    # So is a mean of which readings without noise leave some directions no freedom.
    moves_mean_alone = specification.is_free("initial_mean") and not specification.is_free("initial_cov")
    is_singular = smallest_scaled_eigenvalue(system.initial_cov) < SILENT
    if moves_mean_alone and is_singular and not holds_all(system.observation_cov):
        return False
    joints = [specification.joint("transition"), specification.joint("observation")]
    joints.append(join([specification.constraint("initial_mean")]))
    return all(joint.n_free == 0 or joint.free_columns is not None for joint in joints)


def has_simple_noises(specification: Specification) -> bool:
    """Return whether `most_likely_each` knows the form of every covariance."""
    names = ["transition_cov", "observation_cov", *([] if specification.initial.diffuse.all() else ["initial_cov"])]
    return all(_is_simple(specification.forms[name]) for name in names)


def _is_simple(form: Any) -> bool:
    if isinstance(form, BlockDiagonal):
        return all(_is_simple(block) for block, _ in form.blocks)
    if isinstance(form, Repeated):
        return _is_simple(form.form)
    if isinstance(form, Fixed):
        return bool(np.ndim(form.value) < 3)
    return type(form) in (Full, Diagonal, Isotropic)


def most_likely_each(form: Any, scatters: Array) -> Array:
    """Return what `form.most_likely` gives for every scatter (N, n, n)."""
    n = scatters.shape[1]
    if isinstance(form, BlockDiagonal):
        result, first = np.zeros_like(scatters), 0
        for block, size in form.blocks:
            at = slice(first, first + size)
            result[:, at, at] = most_likely_each(block, scatters[:, at, at])
            first += size
        return result
    if isinstance(form, Repeated):
        return _repeated(form, scatters)
    if isinstance(form, Fixed):
        return np.broadcast_to(form.fitted_to((n, n), "Fixed"), scatters.shape).copy()
    if isinstance(form, Full):
        return symmetrised(scatters)
    variances = np.maximum(np.diagonal(scatters, axis1=1, axis2=2), 0.0)
    if isinstance(form, Isotropic):
        traces = np.maximum(np.trace(scatters, axis1=1, axis2=2), 0.0)
        variances = np.repeat(traces[:, None] / n, n, axis=1)
    elif not isinstance(form, Diagonal):
        raise TypeError(f"no stacked form of {type(form).__name__}")
    stacked: Array = variances[:, :, None] * np.eye(n)
    return stacked


def _repeated(form: Repeated, scatters: Array) -> Array:
    size = scatters.shape[1] // form.copies
    places = [slice(k * size, (k + 1) * size) for k in range(form.copies)]
    mean = sum((scatters[:, at, at] for at in places), np.zeros((len(scatters), size, size))) / form.copies
    found, result = most_likely_each(form.form, mean), np.zeros_like(scatters)
    for at in places:
        result[:, at, at] = found
    return result
