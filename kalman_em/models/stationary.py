"""Stationary blocks of the initial state: their moments follow from F, b and Q, and their states from no others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kalman_em.arrays import Array
from kalman_em.em.constraints import LinearConstraint
from kalman_em.errors import InputError, NumericalError
from kalman_em.inference.rows import noise_covs
from kalman_em.inference.stationary import is_inside, outermost_eigenvalue, outside, stationary_cov, stationary_mean
from kalman_em.models.initial_state import InitialState
from kalman_em.systems import LinearGaussianSystem

# A start for what is learnt keeps this far inside the unit circle: the first steps need room.
START_RADIUS = 0.95
# So often the free coefficients of a start are made smaller.
MOST_SHRINKS = 60


def settled(system: LinearGaussianSystem, initial: InitialState, mean_follows: bool) -> LinearGaussianSystem:
    """Return `system` with its stationary blocks of P, and of m if it follows, at what F, b and Q make them.

    Blocks are independent of each other and of the rest, whatever their noises have in common.

    Raises
    ------
    NumericalError
        If an eigenvalue of such a block of F is not inside the unit circle; the message names it.
    """
    if not initial.stationary:
        return system
    P, m = np.array(system.initial_cov), np.array(system.initial_mean)
    F, noise = system.transition_matrix, noise_covs(system)
    if F.ndim == 3:
        # Of a motion in continuous time: what is stationary is so over any gap.
        F, noise = F[-1], noise[-1]
    assert system.transition_offset is not None  # the system fills it in
    for rows in initial.stationary:
        inside = F[rows, rows]
        found = outermost_eigenvalue(inside)
        if not is_inside(found):
            raise NumericalError(outside(found))
        P[rows, rows] = stationary_cov(inside, noise[rows, rows])
        if mean_follows:
            m[rows] = stationary_mean(inside, system.transition_offset[rows])
    return system.replaced(initial_cov=P, initial_mean=m) if mean_follows else system.replaced(initial_cov=P)


def largest_modulus(system: LinearGaussianSystem, initial: InitialState) -> float:
    """Return the largest modulus of an eigenvalue of the stationary blocks of F; 0 if there are none."""
    F = system.transition_matrix
    F = F if F.ndim == 2 else F[-1]
    return max((abs(outermost_eigenvalue(F[rows, rows])) for rows in initial.stationary), default=0.0)


def check_stationary(initial: InitialState, constraint: LinearConstraint, state_names: Sequence[str]) -> None:
    """Raise `InputError` unless each stationary block of F stands alone and, if known, is inside the unit circle.

    `constraint` is that of the transition matrix.
    """
    d = len(initial.diffuse)
    moves = np.any(constraint.design != 0.0, axis=1).reshape(d, d)
    for rows in initial.stationary:
        inside = np.zeros(d, dtype=bool)
        inside[rows] = True
        coupled = np.argwhere((moves | (constraint.fixed != 0.0)) & inside[:, None] & ~inside)
        if len(coupled):
            i, j = (int(one) for one in coupled[0])
            raise InputError(
                f"initial_cov: a Stationary() block needs states that no others move, but transition_matrix[{i}, {j}] "
                f"lets {state_names[j]} move {state_names[i]}; expected it Fixed at 0, or both in one block"
            )
        found = outermost_eigenvalue(constraint.fixed[rows, rows])
        if not moves[rows, rows].any() and not is_inside(found):
            raise InputError(f"initial_cov: Stationary() does not fit the Fixed transition_matrix: {outside(found)}")


def stabilised(F: Array, constraint: LinearConstraint, initial: InitialState) -> Array:
    """Return F (d, d) with its free numbers made smaller until its stationary blocks are well inside the unit circle.

    Raises
    ------
    InputError
        If no such numbers are found.
    """
    if not initial.stationary or constraint.n_free == 0:
        return F
    free, *_ = np.linalg.lstsq(constraint.design, (F - constraint.fixed).ravel(), rcond=None)
    for k in range(MOST_SHRINKS):
        tried = constraint.fixed + (constraint.design @ (free * 0.9**k)).reshape(F.shape)
        if all(abs(outermost_eigenvalue(tried[rows, rows])) <= START_RADIUS for rows in initial.stationary):
            return np.asarray(tried)
    raise InputError(
        "transition_matrix: no start with every eigenvalue of the Stationary() blocks inside the unit circle was "
        "found; pass one as start={'transition_matrix': ...}"
    )
