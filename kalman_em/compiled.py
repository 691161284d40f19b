"""The one door to numba: typed decorators, so that kernels keep their signatures for readers and checkers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., object])


def kernel(function: Function) -> Function:
    """Compile `function` with numba: cached on disk and without the GIL; plain Python under NUMBA_DISABLE_JIT=1.

    A kernel allocates nothing, so that its arrays need not be counted: counting took most of the time of short steps.
    """
    return cast(Function, _KERNEL(function))


def inlined(function: Function) -> Function:
    """Compile `function` as `kernel` does, to become part of the kernels that call it."""
    return cast(Function, _INLINED(function))


def fused(function: Function) -> Function:
    """Compile `function` as `kernel` does, free to add in another order and to round product and sum at once.

    For long loops over what is regular: sums of products and recursions of means, where neither order is the better.
    """
    return cast(Function, _FUSED(function))


# numba has no public name for "allocates nothing"; its own tests use this one.
_settings: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy", "_nrt": False}
_KERNEL: Any = numba.njit(**_settings)
_INLINED: Any = numba.njit(inline="always", **_settings)
_FUSED: Any = numba.njit(fastmath={"contract", "reassoc"}, **_settings)
