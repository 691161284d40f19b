"""Whether the states have a basis of their own, or any change of basis gives the same model."""

from __future__ import annotations

import numpy as np

from kalman_em.arrays import Array
from kalman_em.crosscheck.coordinates import noise_members
from kalman_em.models.specification import COEFFICIENTS, Specification
from kalman_em.systems import LinearGaussianSystem

# A singular value below this part of the largest is 0.
NULL = 1e-7
STEP = 1e-6
# In continuous time a few gaps say what all do.
MOST_GAPS = 8


def free_basis_dimension(specification: Specification, system: LinearGaussianSystem) -> int:
    """Return the number of directions in which the basis of the states can change with every form still obeyed.

    Under x -> (I + A) x with A small, F changes by AF - FA, b by Ab, B by AB, G Q G' by A GQG' + GQG' A', H by -HA
    and m by Am. Those A for which each change can be made with the free numbers form a linear space, of this
    dimension. A proper P is not asked, as one first row says next to nothing about a basis, but a state that does not
    start diffuse can have no part of one that does.
    """
    d, gaps = system.state_dim, system.transition_gaps
    if gaps is not None and len(gaps) > MOST_GAPS:
        system = system.at_gaps(gaps[:: len(gaps) // MOST_GAPS])
    generators = np.eye(d * d).reshape(d * d, d, d)
    rows = [np.zeros((1, d * d))]
    for name in COEFFICIENTS:
        if not specification.has(name) or name in ("observation_offset", "observation_input"):
            continue
        if name == "initial_mean" and not specification.initial.others.any():
            continue
        design = specification.constraint(name).design
        changes = [_changed(name, getattr(system, name), A) for A in generators]
        rows.append(_outside(changes, specification.shape(name), design))
    rows.append(_noise_rows(specification, system, generators))
    diffuse = np.asarray(system.initial_diffuse)
    rows.append(np.eye(d * d)[(~diffuse[:, None] & diffuse).ravel()])
    singular = np.linalg.svd(np.vstack(rows), compute_uv=False)
    return int(d * d - np.count_nonzero(singular > NULL * max(singular[0], 1.0)))


def _changed(name: str, value: Array, A: Array) -> Array:
    if name == "transition_matrix":
        return np.asarray(A @ value - value @ A)
    if name == "observation_matrix":
        return np.asarray(-value @ A)
    if name in ("transition_offset", "initial_mean"):
        return np.asarray(value @ A.T)
    return np.asarray(A @ value)


def _outside(changes: list[Array], shape: tuple[int, ...], design: Array) -> Array:
    """Return the parts of the changes that no free number can make, one column a generator."""
    stacked = np.stack(changes, axis=-1)
    scale = np.abs(stacked).max(initial=0.0)
    flat = stacked.reshape(-1, int(np.prod(shape)), stacked.shape[-1]) / (scale if scale > 0.0 else 1.0)
    basis = np.linalg.qr(design)[0]
    left = flat - basis @ (basis.T @ flat)
    return np.asarray(left.reshape(-1, stacked.shape[-1]))


def _noise_rows(specification: Specification, system: LinearGaussianSystem, generators: Array) -> Array:
    d, Q = system.state_dim, system.transition_cov
    G = np.eye(d) if system.noise_selection is None else system.noise_selection
    noise = G @ Q @ np.swapaxes(G, -1, -2)
    changes = [A @ noise + noise @ A.T for A in generators]
    tangent = np.zeros((d * d, 0))
    if specification.is_free("transition_cov") and Q.ndim == 2:
        size, members = noise_members(specification.noise("transition_cov"), Q, np.ones(len(Q)))
        steps = np.eye(size) * STEP
        moved = [(G @ (members(step) - members(-step)) @ np.swapaxes(G, -1, -2)).ravel() for step in steps]
        tangent = np.stack(moved, axis=-1) / (2.0 * STEP)
        tangent = tangent / np.maximum(np.linalg.norm(tangent, axis=0), np.finfo(float).tiny)
    # One number moves the noise of every gap at once.
    return _outside(changes, noise.shape, tangent) if len(tangent) > d * d else _outside(changes, (d, d), tangent)
