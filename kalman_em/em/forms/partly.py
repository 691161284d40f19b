"""A parameter of which some entries are known and the others are learnt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from kalman_em.arrays import BoolArray, array_key, as_floats, first_position, frozen
from kalman_em.em.constraints import LinearConstraint
from kalman_em.em.families import Family, family_of
from kalman_em.em.forms.protocols import FamilyForm
from kalman_em.errors import InputError


@dataclass(frozen=True, eq=False)
class Partly(FamilyForm):
    """Known entries and free ones.

    Parameters
    ----------
    values : array_like
        The known entries; what stands at the free ones is not used, and may be NaN. For a coefficient, a leading time
        axis makes the known entries vary in time.
    free : array_like of bool, of the shape of the parameter
        True where an entry is learnt; for a covariance symmetric.

    Raises
    ------
    InputError
        If `free` is not of booleans, a known entry is not a finite number, or the shapes differ; where it is used, if
        the shape is not that of the parameter, or for a covariance either is not symmetric, or no free entries make
        it positive semi-definite.

    Notes
    -----
    A covariance has a closed form where known and free entries form blocks of their own; a block with both is climbed
    by scoring steps, and the summary says so.

    Examples
    --------
    >>> import numpy as np
    >>> from kalman_em import Partly
    >>> form = Partly([[0.0, np.nan], [1.0, 0.0]], free=[[False, True], [False, False]])
    >>> form.constraint((2, 2), "transition_matrix").project(np.array([[9.0, 7.0], [9.0, 9.0]])).tolist()
    [[0.0, 7.0], [1.0, 0.0]]
    """

    values: Any
    free: Any

    def __post_init__(self) -> None:
        free = _mask(self.free)
        values = np.array(as_floats(self.values, "Partly", allow_nan=True))
        if values.shape != free.shape and values.shape[1:] != free.shape:
            raise InputError(f"Partly: expected values and free of one shape, got {values.shape} and {free.shape}")
        values[np.broadcast_to(free, values.shape)] = 0.0
        if np.isnan(values).any():
            raise InputError(f"Partly: holds NaN at {first_position(np.isnan(values))}, which is not free")
        object.__setattr__(self, "values", frozen(values))
        object.__setattr__(self, "free", frozen(free))

    def __repr__(self) -> str:
        return f"Partly({self.values.tolist()}, free={self.free.tolist()})"

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, Partly) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[Any, ...]:
        return array_key(self.values), array_key(self.free)

    def constraint(self, shape: tuple[int, ...], name: str) -> LinearConstraint:
        """One column of the design a free entry."""
        if self.free.shape != shape:
            raise InputError(f"{name}: expected a Partly of shape {shape}, got {self.free.shape}")
        return LinearConstraint(self.values, frozen(np.eye(self.free.size)[:, self.free.ravel()]))

    def family(self, dim: int, name: str) -> Family:
        """One number a free entry on or below the diagonal."""
        if self.free.shape != (dim, dim):
            raise InputError(f"{name}: expected a Partly of shape {(dim, dim)}, got {self.free.shape}")
        if np.any(self.free != self.free.T):
            raise InputError(f"{name}: expected free to be symmetric, as a covariance is, got\n{self.free}")
        table = self.values if self.values.ndim == 3 else self.values[None]
        if np.any(table != np.swapaxes(table, 1, 2)):
            raise InputError(
                f"{name}: expected known entries that are symmetric, as a covariance is, got\n{self.values}"
            )
        rows, columns = np.nonzero(np.tril(self.free))
        basis = np.zeros((len(rows), *table.shape))
        basis[np.arange(len(rows)), :, rows, columns] = 1.0
        basis[np.arange(len(rows)), :, columns, rows] = 1.0
        return family_of(table, basis, (None,) * len(rows))


def _mask(free: Any) -> BoolArray:
    try:
        mask = np.array(free)
    except ValueError as error:
        raise InputError("Partly: expected free to have rows of equal length") from error
    if mask.dtype != bool:
        raise InputError(f"Partly: expected free to be an array of booleans, got {mask.dtype} of shape {mask.shape}")
    return mask
