"""Small linear algebra on covariances: symmetry, definiteness, and solves that accept singular matrices."""

from __future__ import annotations

import numpy as np

from kalman_em.arrays import Array, BoolArray, check_shape
from kalman_em.errors import InputError

# A covariance may be off symmetry, or below zero in an eigenvalue, by this much of its largest entry:
# rounding in the caller's arithmetic, not a mistake.
ROUNDING = 1e-9
# A matrix of unit diagonal whose Cholesky factor has no smaller entry on its own diagonal is far from singular.
SOUND = 1e-4


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


def block_diagonal(*blocks: Array) -> Array:
    """Return the matrix with `blocks` along its diagonal (scipy.linalg takes longer to import than a short fit).

    Examples
    --------
    >>> block_diagonal(np.ones((1, 2)), np.full((1, 1), 3.0)).tolist()
    [[1.0, 1.0, 0.0], [0.0, 0.0, 3.0]]
    """
    result = np.zeros((sum(len(block) for block in blocks), sum(block.shape[1] for block in blocks)))
    row, column = 0, 0
    for block in blocks:
        n, m = block.shape
        result[row : row + n, column : column + m] = block
        row, column = row + n, column + m
    return result


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
    return np.asarray(solve_each(matrix[None], right[None])[0])


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
    if matrices.shape[-1] == 1:
        positive = matrices > 0.0
        return np.where(positive, right / np.where(positive, matrices, 1.0), 0.0)
    diagonals = np.diagonal(matrices, axis1=1, axis2=2)
    scale = np.where(diagonals > 0.0, 1.0 / np.sqrt(np.where(diagonals > 0.0, diagonals, 1.0)), 0.0)[:, :, None]
    scaled, scaled_right = symmetrised(matrices * scale * np.swapaxes(scale, 1, 2)), right * scale
    roots, is_sound = _cholesky_each(scaled)
    is_sound &= np.diagonal(roots, axis1=1, axis2=2).min(axis=1) > SOUND
    if is_sound.all():
        return np.asarray(np.linalg.solve(scaled, scaled_right) * scale)
    solution = np.empty(right.shape)
    solution[is_sound] = np.linalg.solve(scaled[is_sound], scaled_right[is_sound])
    # What is singular, or nearly: without the null directions.
    eigenvalues, vectors = np.linalg.eigh(scaled[~is_sound])
    keep = eigenvalues > 1e-13 * np.maximum(eigenvalues[:, -1:], 0.0)
    inverse = np.where(keep, 1.0 / np.where(keep, eigenvalues, 1.0), 0.0)
    solution[~is_sound] = (vectors * inverse[:, None, :]) @ (np.swapaxes(vectors, 1, 2) @ scaled_right[~is_sound])
    return np.asarray(solution * scale)


def square_root(matrix: Array) -> Array:
    """Return A with A A' = `matrix` for a symmetric PSD `matrix`; singular matrices are welcome."""
    return np.asarray(square_roots(matrix[None])[0])


def square_roots(matrices: Array) -> Array:
    """Return `square_root` of each of n matrices."""
    diagonal = np.sqrt(np.maximum(np.diagonal(matrices, axis1=1, axis2=2), 0.0))
    scale = np.where(diagonal > 0.0, diagonal, 1.0)[:, :, None]
    scaled = symmetrised(matrices / scale / np.swapaxes(scale, 1, 2))
    roots, has_root = _cholesky_each(scaled)
    if not has_root.all():
        eigenvalues, vectors = np.linalg.eigh(scaled[~has_root])
        roots[~has_root] = vectors * np.sqrt(np.maximum(eigenvalues, 0.0))[:, None, :]
    return np.asarray(scale * roots)


def _cholesky_each(matrices: Array) -> tuple[Array, BoolArray]:
    """Return the Cholesky factors of n matrices, and which of them have one; the factors of the others are 0.

    numpy refuses all where one has none: so halves are tried, down to single matrices. What is found for a matrix does
    not depend on its neighbours.
    """
    try:
        return np.asarray(np.linalg.cholesky(matrices), dtype=np.float64), np.ones(len(matrices), dtype=bool)
    except np.linalg.LinAlgError:
        if len(matrices) == 1:
            return np.zeros(matrices.shape), np.zeros(1, dtype=bool)
    middle = len(matrices) // 2
    halves = _cholesky_each(matrices[:middle]), _cholesky_each(matrices[middle:])
    return np.concatenate([one[0] for one in halves]), np.concatenate([one[1] for one in halves])


def least_squares(design: Array, right: Array) -> Array:
    """Return x with `design` x nearest to `right`, of least norm where several are; each column in its own unit."""
    size = np.sqrt(np.sum(design**2, axis=0))
    unit = np.where(size > 0.0, size, 1.0)
    solution, *_ = np.linalg.lstsq(design / unit, right, rcond=None)
    result: Array = solution / unit
    return result
