"""Forms with every entry free, or one number a row, or one in all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from kalman_em.arrays import Array, frozen
from kalman_em.em.constraints import LinearConstraint
from kalman_em.em.families import Family, Part, family_of
from kalman_em.em.forms.protocols import FamilyForm
from kalman_em.errors import InputError
from kalman_em.linalg import symmetrised


@dataclass(frozen=True)
class Full:
    """Every entry is free (a covariance: any symmetric positive semi-definite matrix).

    Examples
    --------
    >>> import numpy as np
    >>> from kalman_em import Full
    >>> Full().most_likely(np.array([[2.0, 1.0], [1.0, 3.0]])).tolist()
    [[2.0, 1.0], [1.0, 3.0]]
    """

    is_direct: ClassVar[bool] = True

    def constraint(self, shape: tuple[int, ...], name: str) -> LinearConstraint:
        """Nothing is fixed."""
        del name
        return LinearConstraint(frozen(np.zeros(shape)), frozen(np.eye(int(np.prod(shape)))))

    def most_likely(self, scatter: Array) -> Array:
        """The scatter itself (Anderson 2003, lemma 3.2.2)."""
        return symmetrised(scatter)

    def n_free_in_covariance(self, dim: int) -> int:
        """dim (dim + 1) / 2."""
        return dim * (dim + 1) // 2

    def check_covariance(self, dim: int, name: str) -> None:
        """Fits any."""

    def family(self, dim: int, name: str) -> Family:
        """One number for each entry on or below the diagonal."""
        del name
        rows, columns = np.tril_indices(dim)
        basis = np.zeros((len(rows), 1, dim, dim))
        basis[np.arange(len(rows)), 0, rows, columns] = 1.0
        basis[np.arange(len(rows)), 0, columns, rows] = 1.0
        return Family(dim, (Part(np.arange(dim), np.zeros((1, dim, dim)), basis, (None,) * len(rows)),))


@dataclass(frozen=True)
class Diagonal:
    """The diagonal is free and the rest is 0.

    Examples
    --------
    >>> import numpy as np
    >>> from kalman_em import Diagonal
    >>> Diagonal().most_likely(np.array([[2.0, 1.0], [1.0, 3.0]])).tolist()
    [[2.0, 0.0], [0.0, 3.0]]
    """

    is_direct: ClassVar[bool] = True

    def constraint(self, shape: tuple[int, ...], name: str) -> LinearConstraint:
        """Zero off the diagonal; for a vector the same as `Full`."""
        if len(shape) == 1:
            return Full().constraint(shape, name)
        if shape[0] != shape[1]:
            raise InputError(f"{name}: Diagonal needs a square matrix, got shape {shape}")
        design = np.zeros((shape[0] * shape[0], shape[0]))
        design[np.arange(shape[0]) * (shape[0] + 1), np.arange(shape[0])] = 1.0
        return LinearConstraint(frozen(np.zeros(shape)), frozen(design))

    def most_likely(self, scatter: Array) -> Array:
        """The diagonal of the scatter."""
        return np.diag(np.maximum(np.diagonal(scatter), 0.0))

    def n_free_in_covariance(self, dim: int) -> int:
        """One a row."""
        return dim

    def check_covariance(self, dim: int, name: str) -> None:
        """Fits any."""

    def family(self, dim: int, name: str) -> Family:
        """One number a row."""
        del name
        one = np.ones((1, 1, 1, 1))
        return Family(dim, tuple(Part(np.array([i]), np.zeros((1, 1, 1)), one, (None,)) for i in range(dim)))


@dataclass(frozen=True)
class Isotropic:
    """One number times the identity; for a vector, one number in every entry.

    Examples
    --------
    >>> import numpy as np
    >>> from kalman_em import Isotropic
    >>> Isotropic().most_likely(np.array([[2.0, 1.0], [1.0, 4.0]])).tolist()
    [[3.0, 0.0], [0.0, 3.0]]
    """

    is_direct: ClassVar[bool] = True

    def constraint(self, shape: tuple[int, ...], name: str) -> LinearConstraint:
        """One free number."""
        if len(shape) == 2 and shape[0] != shape[1]:
            raise InputError(f"{name}: Isotropic needs a square matrix, got shape {shape}")
        pattern = np.ones(shape) if len(shape) == 1 else np.eye(shape[0])
        return LinearConstraint(frozen(np.zeros(shape)), frozen(pattern.reshape(-1, 1)))

    def most_likely(self, scatter: Array) -> Array:
        """The mean of the scatter's diagonal."""
        dim = len(scatter)
        result: Array = np.eye(dim) * (max(np.trace(scatter), 0.0) / dim)
        return result

    def n_free_in_covariance(self, dim: int) -> int:
        """One."""
        return 1

    def check_covariance(self, dim: int, name: str) -> None:
        """Fits any."""

    def family(self, dim: int, name: str) -> Family:
        """One number times the identity."""
        del name
        return Family(dim, (Part(np.arange(dim), np.zeros((1, dim, dim)), np.eye(dim)[None, None], (None,)),))


@dataclass(frozen=True)
class EqualVarCov(FamilyForm):
    """One variance for all, and one covariance between any two (for a covariance).

    Raises
    ------
    InputError
        Where it is used, for a covariance of fewer than two rows.

    Examples
    --------
    >>> import numpy as np
    >>> from kalman_em import EqualVarCov
    >>> EqualVarCov().most_likely(np.array([[2.0, 1.0], [1.0, 4.0]])).round(12).tolist()
    [[3.0, 1.0], [1.0, 3.0]]
    """

    def family(self, dim: int, name: str) -> Family:
        """Two numbers: the variance and the covariance."""
        if dim < 2:
            raise InputError(f"{name}: EqualVarCov needs at least two rows, got {dim}; use Full()")
        basis = np.stack([np.eye(dim), 1.0 - np.eye(dim)])[:, None]
        return family_of(np.zeros((1, dim, dim)), basis, (None, None))
