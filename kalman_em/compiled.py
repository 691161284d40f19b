"""The one door to numba: typed decorators, so that kernels keep their signatures for readers and checkers."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
from numba.core import cgutils, event, types

# Types of indexed arrays are found by the first rule that was loaded. A cache loads those of texts and lists first,
# unless the rules of arrays are there already: each of thousands of indexings then took fifteen times as long.
from numba.core.typing import arraydecl  # noqa: F401
from numba.extending import intrinsic

Function = TypeVar("Function", bound=Callable[..., object])


def kernel(function: Function) -> Function:
    """Compile `function` with numba: cached on disk and without the GIL; plain Python under NUMBA_DISABLE_JIT=1.

    A kernel allocates nothing, so that its arrays need not be counted: counting took most of the time of short steps.
    """
    return cast(Function, _KERNEL(function))


def fused_part(function: Function) -> Function:
    """Compile `function` as `fused` does, for kernels alone to call."""
    return cast(Function, _FUSED_PART(function))


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


class _WithoutCollection(event.Listener):
    """Keeps Python's collector of cyclic garbage from running while a kernel of this package is compiled.

    A compilation makes objects by the million; looking through all of them, and all that was loaded, again and again
    took a fifth of its time. numba compiles one function at a time, and those that it calls inside of it.
    """

    def __init__(self) -> None:
        self._was_enabled: list[bool] = []

    def on_start(self, event: Any) -> None:
        if _is_ours(event):
            self._was_enabled.append(gc.isenabled())
            gc.disable()

    def on_end(self, event: Any) -> None:
        if _is_ours(event) and self._was_enabled.pop():
            gc.enable()


def _is_ours(event: Any) -> bool:
    return str(event.data["dispatcher"].py_func.__module__).startswith("kalman_em.")


_events: Any = event
_events.register("numba:compile", _WithoutCollection())

# numba has no public name for "allocates nothing"; its own tests use this one.
_settings: dict[str, Any] = {
    "cache": True,
    "nogil": True,
    "error_model": "numpy",
    "_nrt": False,
    "no_cfunc_wrapper": True,
}
_KERNEL: Any = numba.njit(**_settings)
_INLINED: Any = numba.njit(inline="always", **_settings)
_unwrapped: dict[str, Any] = {"no_cpython_wrapper": True}
_PART: Any = numba.njit(**_settings, **_unwrapped)
_CONTRACTED: Any = numba.njit(fastmath={"contract"}, **_settings)
_FUSED: Any = numba.njit(fastmath={"contract", "reassoc"}, **_settings)
_FUSED_PART: Any = numba.njit(fastmath={"contract", "reassoc"}, **_settings, **_unwrapped)
