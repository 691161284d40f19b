"""The time between rows: the distinct gaps of some time stamps, and which of them lies after each row."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kalman_em.arrays import Array, IntArray, frozen

# Gaps closer than so many units in the last place of the time stamps themselves are one gap.
RESOLUTION = 4.0
# A gap is an entry of a table if it differs by no more than this part of itself (and the rounding of the time stamps).
SAME = 1e-9


@dataclass(frozen=True, eq=False)
class Gaps:
    """Distinct gaps (K,), increasing, and for every row (N,) the position of the gap after it.

    After the last row of a series no gap follows: its position says nothing. Gaps that differ by the rounding of the
    time stamps (`resolution`) count as one.
    """

    values: Array
    index: IntArray
    resolution: float

    def within(self, table: Array) -> IntArray | None:
        """Return for every row the entry of `table` (increasing) that is the gap after it; None if one is not there."""
        if self.values is table or len(self.values) == 0:
            return self.index
        if len(table) == 0:
            return None
        found = nearest(table, self.values)
        if np.any(np.abs(table[found] - self.values) > SAME * self.values + 2.0 * self.resolution):
            return None
        return frozen(found[self.index])


def gaps_of(times: Array, starts: IntArray) -> Gaps:
    """Return the gaps of the series whose first rows are `starts[:-1]`; `times` (N,) increase within each.

    Examples
    --------
    >>> import numpy as np
    >>> found = gaps_of(np.array([0.0, 0.1, 0.3, 5.0, 5.1]), np.array([0, 3, 5]))
    >>> found.values.round(3).tolist(), found.index.tolist()
    ([0.1, 0.2], [0, 1, 0, 0, 0])
    """
    resolution = RESOLUTION * float(np.spacing(np.abs(times).max()))
    has_next = np.ones(len(times), dtype=bool)
    has_next[starts[1:] - 1] = False
    rows = np.flatnonzero(has_next)
    sizes = times[rows + 1] - times[rows]
    index = np.zeros(len(times), dtype=np.int64)
    if len(sizes) == 0:
        return Gaps(frozen(np.zeros(0)), frozen(index), resolution)
    # A grid as fine as the rounding, with a point on the most usual gap.
    ordered, counts = np.unique(sizes, return_counts=True)
    grid = np.rint((sizes - ordered[np.argmax(counts)]) / resolution)
    _, position = np.unique(grid, return_inverse=True)
    position = position.reshape(-1)
    index[rows] = position
    # As one group on a regular clock would drift by rounding, its gap is the mean.
    values = np.bincount(position, weights=sizes) / np.bincount(position)
    return Gaps(frozen(values), frozen(index), resolution)


def nearest(table: Array, values: Array) -> IntArray:
    """Return the positions in `table` (increasing, not empty) of the entries nearest to `values`."""
    right = np.clip(np.searchsorted(table, values), 1, max(len(table) - 1, 1))
    left = right - 1
    right = np.minimum(right, len(table) - 1)
    closer = np.abs(table[left] - values) <= np.abs(table[right] - values)
    return np.where(closer, left, right).astype(np.int64)
