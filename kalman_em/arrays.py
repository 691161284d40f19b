"""Arrays at the door: converted once to float64, checked for shape, and frozen."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kalman_em.errors import InputError

Array = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]


def frozen(array: NDArray[Any]) -> NDArray[Any]:
    """Return `array` C-contiguous and read-only; the caller hands it over and writes to it no more."""
    result = np.ascontiguousarray(array) if array.ndim else array
    result.setflags(write=False)
    return result


def as_floats(value: Any, name: str, *, allow_nan: bool = False) -> Array:
    """Return a read-only float64 copy of `value`.

    Raises
    ------
    InputError
        If `value` is not numeric, or holds inf (or NaN, unless `allow_nan`).
    """
    try:
        source = np.asarray(value)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name}: expected numbers, got {type(value).__name__} ({error})") from error
    if source.dtype.kind in "USMmc" or (source.dtype == object and _holds_text(source)):
        raise InputError(f"{name}: expected real numbers, got values of type {_type_of(source)}")
    try:
        array: Array = np.array(source, dtype=np.float64, order="C")
    except (TypeError, ValueError) as error:
        raise InputError(f"{name}: expected numbers, got {type(value).__name__} ({error})") from error
    if np.isinf(array).any():
        raise InputError(f"{name}: holds inf at {first_position(np.isinf(array))}; NaN is the marker for missing")
    if not allow_nan and np.isnan(array).any():
        raise InputError(f"{name}: holds NaN at {first_position(np.isnan(array))}; expected finite numbers")
    array.setflags(write=False)
    return array


def check_shape(array: NDArray[Any], shape: tuple[int, ...], name: str) -> None:
    """Raise `InputError` naming both shapes unless `array` has `shape`."""
    if array.shape != shape:
        raise InputError(f"{name}: expected shape {shape}, got {array.shape}")


def first_position(mask: BoolArray) -> str:
    """Return the index of the first True of `mask` as text for a message."""
    position = tuple(int(i) for i in np.argwhere(mask)[0])
    return f"position {position[0] if len(position) == 1 else position}"


def _holds_text(source: NDArray[Any]) -> bool:
    return any(isinstance(item, str | bytes) for item in source.ravel())


def _type_of(source: NDArray[Any]) -> str:
    if source.dtype == object:
        return next(type(item).__name__ for item in source.ravel() if isinstance(item, str | bytes))
    return str(source.dtype)
