"""The stationary distribution of the states: the discrete Lyapunov equation, and its adjoint for gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

from kalman_em.arrays import Array, as_floats, check_shape, frozen
from kalman_em.errors import InputError, NumericalError
from kalman_em.linalg import checked_covariance, symmetrised

# Nearer to the unit circle than this a stationary covariance has lost half of its digits.
NEAREST = 1e-8
# F to the power 2^50 is 0, or F is not inside the unit circle.
MOST_DOUBLINGS = 50
# A term that adds less than this part is the last.
SETTLED = 1e-2 * float(np.finfo(float).eps)


def stationary_moments(
    transition_matrix: Any,
    transition_cov: Any,
    transition_offset: Any = None,
    *,
    noise_selection: Any = None,
) -> tuple[Array, Array]:
    """Return mean m and covariance P of the stationary distribution of x[t+1] = F x[t] + b + G w[t].

    .. math:: m = (I - F)^{-1} b, \\qquad P = F P F' + G Q G'

    Parameters
    ----------
    transition_matrix : array_like, shape (d, d)
        F, every eigenvalue inside the unit circle.
    transition_cov : array_like, shape (r, r)
        Q; r = d without `noise_selection`. May be singular.
    transition_offset : array_like, shape (d,), optional
        b; 0 when left out.
    noise_selection : array_like, shape (d, r), optional
        G; the identity when left out.

    Returns
    -------
    m : ndarray, shape (d,)
    P : ndarray, shape (d, d)
        Symmetric and positive semi-definite: a sum of such terms, with no subtraction in it.

    Raises
    ------
    InputError
        If a shape does not fit, Q is no covariance, or F has an eigenvalue on or outside the unit circle; the message
        names it.

    References
    ----------
    Anderson and Moore, Optimal Filtering, 1979, section 6.7 (doubling).

    Examples
    --------
    An AR(1) around 5: the variance is q / (1 - φ²).

    >>> import kalman_em as kem
    >>> m, P = kem.stationary_moments([[0.5]], [[3.0]], [2.5])
    >>> m.tolist(), P.tolist()
    ([5.0], [[4.0]])

    They are what `LinearGaussianSystem` takes as `initial_mean` and `initial_cov` for a series that has been going on
    for long before its first row.
    """
    F = as_floats(transition_matrix, "transition_matrix")
    if F.ndim != 2 or len(F) == 0 or F.shape[0] != F.shape[1]:
        raise InputError(f"transition_matrix: expected shape (d, d), got {F.shape}")
    d = len(F)
    G = np.eye(d) if noise_selection is None else as_floats(noise_selection, "noise_selection")
    if G.ndim != 2 or len(G) != d:
        raise InputError(f"noise_selection: expected shape ({d}, r), got {G.shape}")
    Q = as_floats(transition_cov, "transition_cov")
    if Q.ndim != 2:
        raise InputError(f"transition_cov: expected shape ({G.shape[1]}, {G.shape[1]}), got {Q.shape}")
    Q = checked_covariance(Q, G.shape[1], "transition_cov")
    b = np.zeros(d) if transition_offset is None else as_floats(transition_offset, "transition_offset")
    check_shape(b, (d,), "transition_offset")
    found = outermost_eigenvalue(F)
    if not is_inside(found):
        raise InputError(f"transition_matrix: {outside(found)}")
    noise = Q if noise_selection is None else symmetrised(G @ Q @ G.T)
    return frozen(stationary_mean(F, b)), frozen(stationary_cov(F, noise))


def outermost_eigenvalue(F: Array) -> complex:
    """Return the eigenvalue of F (d, d) of largest modulus."""
    values = np.linalg.eigvals(F)
    return complex(values[np.argmax(np.abs(values))])


def is_inside(eigenvalue: complex) -> bool:
    """Whether an eigenvalue is so far inside the unit circle that a stationary covariance can be computed."""
    return abs(eigenvalue) < 1.0 - NEAREST


def outside(eigenvalue: complex) -> str:
    """Return a text that says why there is no stationary distribution."""
    shown = f"{eigenvalue.real:.9g}" if eigenvalue.imag == 0.0 else f"{eigenvalue:.9g}"
    return (
        "a stationary distribution needs every eigenvalue inside the unit circle, but it has the eigenvalue "
        f"{shown} of modulus {abs(eigenvalue):.9g}"
    )


def stationary_cov(F: Array, noise: Array) -> Array:
    """Return P = F P F' + `noise` by doubling: the sum of F^k noise F^k' over k < 2, 4, 8, ..., each twice the last.

    Raises
    ------
    NumericalError
        If it does not converge: an eigenvalue of F is on or outside the unit circle.
    """
    return symmetrised(_doubled(F, noise))


def stationary_mean(F: Array, b: Array) -> Array:
    """Return m = F m + b."""
    return np.asarray(np.linalg.solve(np.eye(len(F)) - F, b)) if np.any(b) else np.zeros(len(F))


def stationary_gradients(F: Array, P: Array, m: Array, in_mean: Array, in_cov: Array) -> tuple[Array, Array, Array]:
    """Return the gradients in F (d, d), b (d,) and the noise covariance (d, d) of a function of m and P alone.

    `in_mean` (d,) and `in_cov` (d, d), symmetric, are its gradients in m and P. With Λ = F'ΛF + `in_cov` they are
    2 Λ F P + λ m', λ and Λ, where λ = (I - F)^-T `in_mean`.
    """
    adjoint = symmetrised(_doubled(F.T, in_cov))
    pulled = stationary_mean(F.T, in_mean)
    return 2.0 * adjoint @ F @ P + np.outer(pulled, m), pulled, adjoint


def _doubled(F: Array, term: Array) -> Array:
    total, power = np.array(term), np.array(F)
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(MOST_DOUBLINGS):
            added = power @ total @ power.T
            total = total + added
            if not np.isfinite(total).all():
                break
            # What is still to come is smaller than the next term by a factor that is itself squared.
            if (np.abs(added) <= SETTLED * np.sqrt(_outer(total))).all():
                return total
            power = power @ power
    raise NumericalError("the stationary covariance does not converge: an eigenvalue is not inside the unit circle")


def _outer(matrix: Array) -> Array:
    sizes: Array = np.abs(matrix.diagonal())
    return sizes[:, None] * sizes
