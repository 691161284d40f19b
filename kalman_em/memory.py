"""Memory for large arrays: on large pages, and used again once nobody holds it any more.

What a new large array costs is the first touch of its pages, often more than the arithmetic of what fills it.
"""

from __future__ import annotations

from collections import deque
from itertools import accumulate
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

# The size of a large page of memory, and from which size on arrays are laid on such pages.
LARGE_PAGE = 1 << 21
LARGE_ARRAYS = 1 << 18
# So much memory is kept for later at most.
MOST_SPARE = 1 << 27
# A piece may be longer than what is asked for by this factor.
ROOMY = 2

_spare: deque[NDArray[np.uint8]] = deque()


class _Lease:
    """Lends a piece of memory to arrays, which hold the lease; gives it back when the last of them is gone."""

    def __init__(self, memory: NDArray[np.uint8]) -> None:
        self.memory = memory
        self.__array_interface__: dict[str, Any] = memory.__array_interface__

    def __del__(self, spare: deque[NDArray[np.uint8]] = _spare) -> None:
        spare.append(self.memory)


def empty_arrays(*shapes: tuple[int, ...]) -> list[NDArray[np.float64]]:
    """Return arrays of `shapes`, uninitialised, in one piece of memory where they are large.

    numpy asks for large pages from 4 MB on, and the system gives them where an array holds whole ones: so the piece
    begins at the start of one. A piece that earlier arrays have left is taken before a new one.

    Examples
    --------
    >>> [one.shape for one in empty_arrays((3, 2), (3,))]
    [(3, 2), (3,)]
    """
    lengths = [prod(shape) for shape in shapes]
    sizes = [-(-length // 8) * 8 for length in lengths]
    n_bytes = 8 * sum(sizes)
    if n_bytes < LARGE_ARRAYS:
        return [np.empty(shape) for shape in shapes]
    memory = np.asarray(_Lease(_piece(max(n_bytes, LARGE_PAGE) + LARGE_PAGE)))
    begin = -memory.__array_interface__["data"][0] % LARGE_PAGE
    block = memory[begin : begin + n_bytes].view(np.float64)
    begins = [0, *accumulate(sizes)]
    return [
        block[first : first + length].reshape(shape)
        for first, length, shape in zip(begins, lengths, shapes, strict=False)
    ]


def _piece(n_bytes: int) -> NDArray[np.uint8]:
    """Return a spare piece of at least `n_bytes` and not much more, or a new one; forget the oldest of too many."""
    kept = 0
    for _ in range(len(_spare)):
        try:
            piece = _spare.pop()
        except IndexError:
            # Another thread has taken it.
            break
        if n_bytes <= piece.nbytes <= ROOMY * n_bytes:
            return piece
        kept += piece.nbytes
        if kept <= MOST_SPARE:
            _spare.appendleft(piece)
    return np.empty(n_bytes, dtype=np.uint8)
