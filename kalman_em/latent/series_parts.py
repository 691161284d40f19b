"""Parts of a panel: whole series, shared out at random."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kalman_em.arrays import IntArray
from kalman_em.observations import Panel


def starts_of(panel: Panel) -> IntArray:
    """Return where every series begins among the rows of all, and their number at the end.

    Examples
    --------
    >>> from kalman_em import Observations
    >>> starts_of(Panel([Observations([[1.0], [2.0]]), Observations([[3.0]])])).tolist()
    [0, 2, 3]
    """
    return np.concatenate([[0], np.cumsum([one.n_steps for one in panel])])


def shared_out(n_series: int, n_parts: int, rng: np.random.Generator) -> list[IntArray]:
    """Return which series belong to each of `n_parts` parts of about equal size, in their order.

    Examples
    --------
    >>> parts = shared_out(5, 2, np.random.default_rng(0))
    >>> sorted(np.concatenate(parts).tolist()), [len(part) for part in parts]
    ([0, 1, 2, 3, 4], [3, 2])
    """
    order = rng.permutation(n_series)
    return [np.sort(order[k::n_parts]) for k in range(n_parts)]


def rows_of_series(starts: IntArray, series: Sequence[int] | IntArray) -> tuple[IntArray, IntArray]:
    """Return the rows of some series, one series after another, and where each begins among them.

    Examples
    --------
    >>> rows, starts = rows_of_series(np.array([0, 2, 5, 6]), [0, 2])
    >>> rows.tolist(), starts.tolist()
    ([0, 1, 5], [0, 2, 3])
    """
    rows = [np.arange(starts[s], starts[s + 1]) for s in series]
    return np.concatenate(rows), np.concatenate([[0], np.cumsum([len(own) for own in rows])])
