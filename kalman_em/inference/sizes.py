"""How the kernels are told the number of states."""

from __future__ import annotations

import numpy as np

from kalman_em.inference.steps import Size

# Up to so many states the kernels are compiled for each number of its own, with loops unrolled; beyond, for any.
LARGEST_UNROLLED = 4


def sized(state_dim: int) -> Size:
    """Return d as the kernels want it: the length of a tuple for a few states, of an array for many.

    Examples
    --------
    >>> sized(2)
    (0.0, 0.0)
    >>> len(sized(20))
    20
    """
    return (0.0,) * state_dim if state_dim <= LARGEST_UNROLLED else np.zeros(state_dim)


def wide(state_dim: int) -> Size:
    """Return d for kernels that are compiled once for any number of states but one, which is common and quick.

    Examples
    --------
    >>> wide(1), len(wide(3))
    ((0.0,), 3)
    """
    return sized(1) if state_dim == 1 else np.zeros(state_dim)
