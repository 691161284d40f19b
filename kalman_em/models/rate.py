"""A learnt rate of a motion in continuous time, as a specification states it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from kalman_em.arrays import Array


@dataclass(frozen=True)
class Rate:
    """A positive number that stands in a drift: how fast the motion dies away, or turns.

    Attributes
    ----------
    name : str
        What the parameter is called that tells of it.
    entries : tuple of (int, int, float)
        Where it stands, row and column, and what it is multiplied by there.
    states, noises : tuple of (int, int)
        First and one past the last of the states of one axis, and of the noises, of the part of the motion it is in.
    """

    name: str
    entries: tuple[tuple[int, int, float], ...]
    states: tuple[int, int]
    noises: tuple[int, int]

    def value(self, drift: Array) -> float:
        """Return the number out of a drift.

        Examples
        --------
        >>> import numpy as np
        >>> Rate("time_constant", ((0, 0, -1.0),), (0, 1), (0, 1)).value(np.array([[-0.5]]))
        0.5
        """
        row, column, weight = self.entries[0]
        return float(drift[row, column] / weight)

    def within(self, first: int) -> Rate:
        """Return the rate in the drift of its part alone, which begins at the state `first`."""
        return replace(
            self, entries=tuple((row - first, column - first, weight) for row, column, weight in self.entries)
        )
