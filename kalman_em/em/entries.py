"""A matrix with some entries learnt, each a sum of numbers that may be shared between entries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from kalman_em.arrays import Array, array_key, as_floats, frozen
from kalman_em.em.constraints import LinearConstraint
from kalman_em.errors import InputError


@dataclass(frozen=True, eq=False)
class Entries:
    """Known but for the entries that are listed: value = fixed + sum of weight times a learnt number.

    Parameters
    ----------
    fixed : array_like
        The value of all other entries, and what the learnt numbers add to; a leading time axis makes it vary in time.
    free : array_like, shape (n, 4)
        One row an entry and number: row of the matrix, column, position of the number from 0, and its weight there.

    Raises
    ------
    InputError
        If an entry is outside the matrix or no number has a position; where it is used, if the shape does not fit.

    Examples
    --------
    A rotation that may shrink, [[a, b], [-b, a]]:

    >>> import numpy as np
    >>> from kalman_em.em.entries import Entries
    >>> form = Entries(np.zeros((2, 2)), [[0, 0, 0, 1], [1, 1, 0, 1], [0, 1, 1, 1], [1, 0, 1, -1]])
    >>> form.constraint((2, 2), "transition_matrix").project(np.array([[0.8, 0.5], [-0.3, 0.6]])).tolist()
    [[0.7, 0.4], [-0.4, 0.7]]
    """

    fixed: Any
    free: Any

    def __post_init__(self) -> None:
        fixed, free = as_floats(self.fixed, "fixed"), as_floats(self.free, "free")
        if fixed.ndim not in (2, 3):
            raise InputError(f"fixed: expected a matrix, or one a row, got shape {fixed.shape}")
        if free.ndim != 2 or free.shape[1] != 4:
            raise InputError(f"free: expected shape (n, 4), got {free.shape}")
        places = free[:, :3]
        if np.any(places != np.floor(places)) or np.any(places < 0) or np.any(places[:, :2] >= fixed.shape[-2:]):
            raise InputError(f"free: expected entries of a matrix of shape {fixed.shape[-2:]} and positions from 0")
        object.__setattr__(self, "fixed", fixed)
        object.__setattr__(self, "free", free)

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, Entries) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[Any, ...]:
        return array_key(self.fixed), array_key(self.free)

    def constraint(self, shape: tuple[int, ...], name: str) -> LinearConstraint:
        """One column of the design a learnt number."""
        if self.fixed.shape[-2:] != shape:
            raise InputError(f"{name}: expected shape {shape}, got {self.fixed.shape}")
        places = self.free[:, :3].astype(np.int64)
        design = np.zeros((int(np.prod(shape)), int(places[:, 2].max(initial=-1)) + 1))
        np.add.at(design, (places[:, 0] * shape[1] + places[:, 1], places[:, 2]), self.free[:, 3])
        return LinearConstraint(self.fixed, frozen(design))


def entries_of(fixed: Array, free: list[tuple[int, int, int, float]]) -> Entries:
    """Return the form for a list of learnt entries (row, column, position of the number, weight)."""
    return Entries(fixed, np.array(free, dtype=np.float64).reshape(len(free), 4))
