"""A progress bar, or nothing at all: tqdm starts a thread of its own even for a bar that is not shown."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from tqdm import tqdm


def progress_bar(total: int, title: str, unit: str, *, shown: bool) -> AbstractContextManager[Any]:
    """Return a context that gives a tqdm bar on stderr, or None.

    A process that is to fork must have no other thread, and Python 3.12 says so.

    Examples
    --------
    >>> with progress_bar(3, "EM", "iteration", shown=False) as bar:
    ...     print(bar)
    None
    """
    return tqdm(total=total, desc=title, unit=unit) if shown else nullcontext()
