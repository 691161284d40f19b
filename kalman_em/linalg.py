"""Small linear algebra on covariances: symmetry, definiteness, and solves that accept singular matrices."""

from __future__ import annotations

import numpy as np

from kalman_em.arrays import Array, check_shape
from kalman_em.errors import InputError

# A covariance may be off symmetry, or below zero in an eigenvalue, by this much of its largest entry:
# rounding in the caller's arithmetic, not a mistake.
ROUNDING = 1e-9


def symmetrised(matrix: Array) -> Array:
    """Return (A + A')/2 over the last two axes: exactly symmetric, because a + b == b + a in floating point."""
    return 0.5 * (matrix + np.swapaxes(matrix, -1, -2))


def checked_covariance(matrix: Array, dim: int, name: str) -> Array:
    """Return `matrix`, of shape (dim, dim) or (T, dim, dim), exactly symmetric.

    Raises
    ------
    InputError
        If the shape is wrong, or a matrix is not symmetric or not positive semi-definite
        (beyond rounding: 1e-9 of its largest entry).
    """
    check_shape(matrix, (*matrix.shape[:-2], dim, dim), name)
    scale = np.abs(matrix).max(axis=(-2, -1), initial=0.0)
    asymmetry = np.abs(matrix - np.swapaxes(matrix, -1, -2)).max(axis=(-2, -1), initial=0.0)
    if np.any(asymmetry > ROUNDING * scale):
        raise InputError(f"{name}: expected a symmetric matrix, got a largest asymmetry of {asymmetry.max():.3g}")
    result: Array = symmetrised(matrix)
    smallest = smallest_scaled_eigenvalue(result)
    if np.any(smallest < -ROUNDING):
        raise InputError(
            f"{name}: expected a positive semi-definite matrix, got a smallest eigenvalue of "
            f"{np.min(np.linalg.eigvalsh(result)):.3g}"
        )
    result.setflags(write=False)
    return result


def has_correlations(covs: Array) -> bool:
    """Return whether any of the matrices (..., n, n) has an entry beside its diagonal.

    Examples
    --------
    >>> has_correlations(np.eye(3)), has_correlations(np.ones((3, 2, 2)))
    (False, True)
    """
    return bool(np.count_nonzero(covs) > np.count_nonzero(np.diagonal(covs, axis1=-2, axis2=-1)))


def smallest_scaled_eigenvalue(matrix: Array) -> Array:
    """Return the smallest eigenvalue of each matrix after scaling it to a unit diagonal (units do not matter)."""
    variances = np.diagonal(matrix, axis1=-2, axis2=-1)
    if matrix.shape[-1] == 0:
        return np.zeros(matrix.shape[:-2])
    if np.any(variances < 0.0):
        return np.where((variances < 0.0).any(axis=-1), -1.0, 0.0)
    if not has_correlations(matrix):
        return np.where((variances > 0.0).all(axis=-1), 1.0, 0.0)
    # A zero variance keeps its row as it is: a covariance beside it then shows as a negative eigenvalue.
    deviations = np.sqrt(np.where(variances > 0.0, variances, 1.0))
    scaled = matrix / deviations[..., :, None] / deviations[..., None, :]
    return np.asarray(np.linalg.eigvalsh(scaled)[..., 0], dtype=np.float64)


def solve_symmetric(matrix: Array, right: Array) -> Array:
    """Return X with `matrix` X = `right` for a symmetric PSD `matrix`, of least norm where it is singular.

    The matrix is first scaled to a unit diagonal, so that rows in different units (years beside
    micrograms) are judged alike; directions below 1e-13 of the largest count as null.
    """
    diagonal = np.diagonal(matrix)
    scale = np.where(diagonal > 0.0, 1.0 / np.sqrt(np.where(diagonal > 0.0, diagonal, 1.0)), 0.0)
    eigenvalues, vectors = np.linalg.eigh(symmetrised(matrix * scale[:, None] * scale[None, :]))
    keep = eigenvalues > 1e-13 * max(eigenvalues[-1], 0.0) if len(eigenvalues) else eigenvalues > 0.0
    inverse = np.where(keep, 1.0 / np.where(keep, eigenvalues, 1.0), 0.0)
    scaled_right = (right.T * scale).T
    solution: Array = ((vectors * inverse) @ (vectors.T @ scaled_right)).T * scale
    return solution.T


def pseudo_inverses(matrices: Array) -> Array:
    """Return for symmetric PSD matrices (n, q, q) what `solve_symmetric` would solve with."""
    diagonal = np.diagonal(matrices, axis1=1, axis2=2)
    scale = np.where(diagonal > 0.0, 1.0 / np.sqrt(np.where(diagonal > 0.0, diagonal, 1.0)), 0.0)
    unit = scale[:, :, None] * scale[:, None, :]
    eigenvalues, vectors = np.linalg.eigh(symmetrised(matrices * unit))
    keep = eigenvalues > 1e-13 * np.maximum(eigenvalues[:, -1:], 0.0)
    inverse = np.where(keep, 1.0 / np.where(keep, eigenvalues, 1.0), 0.0)
    result: Array = ((vectors * inverse[:, None, :]) @ np.swapaxes(vectors, 1, 2)) * unit
    return result


def solve_each(matrices: Array, right: Array) -> Array:
    """Return what `solve_symmetric` gives for every matrix (N, n, n) with its right side (N, n, k)."""
    if matrices.shape[-1] == 0:
        return right
    diagonals = np.diagonal(matrices, axis1=1, axis2=2)
    scale = np.where(diagonals > 0.0, 1.0 / np.sqrt(np.where(diagonals > 0.0, diagonals, 1.0)), 0.0)
    eigenvalues, vectors = np.linalg.eigh(symmetrised(matrices * scale[:, :, None] * scale[:, None, :]))
    keep = eigenvalues > 1e-13 * np.maximum(eigenvalues[:, -1:], 0.0)
    inverse = np.where(keep, 1.0 / np.where(keep, eigenvalues, 1.0), 0.0)
    projected = np.swapaxes(vectors, 1, 2) @ (right * scale[:, :, None])
    solution: Array = ((vectors * inverse[:, None, :]) @ projected) * scale[:, :, None]
    return solution


def square_root(matrix: Array) -> Array:
    """Return A with A A' = `matrix` for a symmetric PSD `matrix`; singular matrices are welcome."""
    diagonal = np.sqrt(np.maximum(np.diagonal(matrix), 0.0))
    scale = np.where(diagonal > 0.0, diagonal, 1.0)
    scaled = symmetrised(matrix / scale[:, None] / scale[None, :])
    try:
        root = np.linalg.cholesky(scaled)
    except np.linalg.LinAlgError:
        eigenvalues, vectors = np.linalg.eigh(scaled)
        root = vectors * np.sqrt(np.maximum(eigenvalues, 0.0))
    result: Array = scale[:, None] * root
    return result


def square_roots(matrices: Array) -> Array:
    """Return `square_root` of each of n matrices."""
    if len(matrices) == 1:
        return square_root(matrices[0])[None]
    diagonal = np.sqrt(np.maximum(np.diagonal(matrices, axis1=1, axis2=2), 0.0))
    scale = np.where(diagonal > 0.0, diagonal, 1.0)
    eigenvalues, vectors = np.linalg.eigh(symmetrised(matrices / scale[:, :, None] / scale[:, None, :]))
    root = vectors * np.sqrt(np.maximum(eigenvalues, 0.0))[:, None, :]
    result: Array = scale[:, :, None] * root
    return result


def least_squares(design: Array, right: Array) -> Array:
    """Return x with `design` x nearest to `right`, of least norm where several are; each column in its own unit."""
    size = np.sqrt(np.sum(design**2, axis=0))
    unit = np.where(size > 0.0, size, 1.0)
    solution, *_ = np.linalg.lstsq(design / unit, right, rcond=None)
    result: Array = solution / unit
    return result
