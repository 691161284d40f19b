"""The one door to numba: typed decorators, so that kernels keep their signatures for readers and checkers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
from numba.core import cgutils, types
from numba.extending import intrinsic

Function = TypeVar("Function", bound=Callable[..., object])


def kernel(function: Function) -> Function:
    """Compile `function` with numba: cached on disk and without the GIL; plain Python under NUMBA_DISABLE_JIT=1.

    A kernel allocates nothing, so that its arrays need not be counted: counting took most of the time of short steps.
    """
    return cast(Function, _KERNEL(function))


def part(function: Function) -> Function:
    """Compile `function` as `kernel` does, for kernels alone to call: what Python would need to call it is left out."""
    return cast(Function, _PART(function))


def contracted(function: Function) -> Function:
    """Compile `function` as `kernel` does, free to round product and sum at once."""
    return cast(Function, _CONTRACTED(function))


def inlined(function: Function) -> Function:
    """Compile `function` as `kernel` does, to become part of the kernels that call it."""
    return cast(Function, _INLINED(function))


def fused(function: Function) -> Function:
    """Compile `function` as `kernel` does, free to add in another order and to round product and sum at once.

    For long loops over what is regular: sums of products and recursions of means, where neither order is the better.
    """
    return cast(Function, _FUSED(function))


def _local(typing_context: Any, size: Any, like: Any) -> Any:
    """Return an array on the stack of d numbers, or d by d as `like` is; `like` itself where d is not known.

    The compiler keeps such arrays in registers: it knows that nothing else refers to them.
    """
    if not isinstance(size, types.BaseTuple):
        return like(size, like), lambda context, builder, signature, arguments: arguments[1]
    d, n_axes = len(size), like.ndim
    building: Any = cgutils
    array_type = types.Array(types.float64, n_axes, "C")

    def lowered(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        def constant(value: int) -> Any:
            return context.get_constant(types.intp, value)

        array = context.make_array(array_type)(context, builder)
        array.data = building.alloca_once(builder, context.get_value_type(types.float64), size=d**n_axes)
        array.shape = building.pack_array(builder, [constant(d)] * n_axes)
        array.strides = building.pack_array(builder, [constant(8 * d**k) for k in reversed(range(n_axes))])
        array.itemsize, array.nitems = constant(8), constant(d**n_axes)
        return array._getvalue()

    return array_type(size, like), lowered


def _like(size: Any, like: Any) -> Any:
    return like


local: Any = _like if vars(numba.config)["DISABLE_JIT"] else intrinsic(_local)

# numba has no public name for "allocates nothing"; its own tests use this one.
_settings: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy", "_nrt": False}
_KERNEL: Any = numba.njit(**_settings)
_INLINED: Any = numba.njit(inline="always", **_settings)
_unwrapped: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
_PART: Any = numba.njit(**_settings, **_unwrapped)
_CONTRACTED: Any = numba.njit(fastmath={"contract"}, **_settings)
_FUSED: Any = numba.njit(fastmath={"contract", "reassoc"}, **_settings)
