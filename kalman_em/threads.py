"""Work shared out among threads; the compiled loops let go of the interpreter, so that they run side by side."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from kalman_em.arrays import as_count

Item = TypeVar("Item")
Result = TypeVar("Result")


def checked_threads(n_threads: Any) -> int:
    """Return a number of threads; None stands for as many as this process may use processors.

    Raises
    ------
    InputError
        If it is neither None nor a whole number of at least 1.
    """
    if n_threads is None:
        available = getattr(os, "sched_getaffinity", None)
        return len(available(0)) if available else (os.cpu_count() or 1)
    return as_count(n_threads, "n_threads")


def shared_out(function: Callable[[Item], Result], items: Sequence[Item], n_threads: int) -> Iterator[Result]:
    """Yield `function` of every item, in their order, on so many threads; one thread is the caller's own.

    The threads are gone when the last result has come, so that a process may fork afterwards.

    Examples
    --------
    >>> list(shared_out(abs, [-1, 2], 2))
    [1, 2]
    """
    if n_threads == 1 or len(items) < 2:
        yield from map(function, items)
        return
    pool = ThreadPoolExecutor(min(n_threads, len(items)))
    try:
        yield from pool.map(function, items)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
