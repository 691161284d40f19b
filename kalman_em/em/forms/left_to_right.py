"""A chain that never goes back."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral

import numpy as np

from kalman_em.arrays import frozen
from kalman_em.em.constraints import LinearConstraint
from kalman_em.errors import InputError


@dataclass(frozen=True)
class LeftToRight:
    """Moves between regimes that never go back: from each to itself and those after it (for `transition_matrix`).

    Parameters
    ----------
    reach : int, optional
        How many regimes ahead a move may go; to the last one when left out. 1 allows no regime to be skipped.

    Raises
    ------
    InputError
        If `reach` is not a whole number of at least 1.

    References
    ----------
    Rabiner, A tutorial on hidden Markov models and selected applications in speech recognition, Proc. IEEE 77 (1989),
    section IV.A.

    Examples
    --------
    >>> LeftToRight(reach=1).constraint((3, 3), "transition_matrix").at([0.8, 0.2, 0.7, 0.3, 1.0]).tolist()
    [[0.8, 0.2, 0.0], [0.0, 0.7, 0.3], [0.0, 0.0, 1.0]]
    """

    reach: int | None = None

    def __post_init__(self) -> None:
        is_whole = isinstance(self.reach, Integral) and not isinstance(self.reach, bool)
        if self.reach is not None and (not is_whole or self.reach < 1):
            raise InputError(f"reach: expected a whole number of at least 1, got {self.reach!r}")

    def constraint(self, shape: tuple[int, ...], name: str) -> LinearConstraint:
        """Zeros below the diagonal, and beyond `reach` above it."""
        if len(shape) != 2 or shape[0] != shape[1]:
            raise InputError(
                f"{name}: expected a form for an array of shape {shape}, got LeftToRight(), which is square"
            )
        free = np.triu(np.ones(shape, dtype=bool))
        if self.reach is not None:
            free &= ~np.triu(np.ones(shape, dtype=bool), self.reach + 1)
        return LinearConstraint(frozen(np.zeros(shape)), frozen(np.eye(free.size)[:, free.ravel()]))
