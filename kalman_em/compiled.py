"""The one door to numba: a typed decorator, so that kernels keep their signatures for readers and checkers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., object])


def compiled(function: Function) -> Function:
    """Compile `function` with numba: cached on disk and without the GIL; plain Python under NUMBA_DISABLE_JIT=1."""
    return cast(Function, numba.njit(cache=True, nogil=True, error_model="numpy")(function))
