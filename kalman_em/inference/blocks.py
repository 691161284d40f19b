"""Many rows of many columns at a time: enough for a matrix product, and few enough to stay in the cache."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from kalman_em.arrays import IntArray

# So many columns are worth matrix products; below, loops over the rows are as fast and need no arrays in between.
WIDE = 12
# Fewer rows than this together are no matrix worth a call.
FEWEST_ROWS = 16
# Numbers in a block: 256 kB, what one core keeps near it.
BLOCK = 32768


def row_blocks(rows: IntArray, n_columns: int) -> Iterator[slice | IntArray]:
    """Yield `rows`, in order, some at a time; a slice where they follow one another, which copies nothing.

    Examples
    --------
    >>> list(row_blocks(np.arange(3, 7), 4))
    [slice(3, 7, None)]
    """
    n = max(BLOCK // max(n_columns, 1), FEWEST_ROWS)
    for first in range(0, len(rows), n):
        block = rows[first : first + n]
        last = int(block[-1])
        yield slice(int(block[0]), last + 1) if last - int(block[0]) == len(block) - 1 else block


def rows_of_groups(group_index: IntArray, n_groups: int) -> tuple[IntArray, IntArray]:
    """Return the rows sorted by group, in order within each, and where each group begins (n_groups + 1,).

    Examples
    --------
    >>> rows, bounds = rows_of_groups(np.array([1, 0, 1]), 2)
    >>> rows.tolist(), bounds.tolist()
    ([1, 0, 2], [0, 1, 3])
    """
    if n_groups == 1:
        return np.arange(len(group_index)), np.array([0, len(group_index)])
    order = np.argsort(group_index, kind="stable")
    return order, np.searchsorted(group_index[order], np.arange(n_groups + 1))
