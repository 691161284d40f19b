"""Arrays at the door: converted once to float64, checked for shape, and frozen."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kalman_em.errors import InputError
from kalman_em.memory import empty_arrays

Array = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]
ShortArray = NDArray[np.int16]


@dataclass(frozen=True, eq=False)
class Table:
    """Distinct arrays and, for every row, which of them holds there."""

    entries: Array
    index: IntArray

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of `at_rows`."""
        return (len(self.index), *self.entries.shape[1:])

    def at_rows(self) -> Array:
        """Return the arrays laid out over the rows: the table itself where no row shares its entry."""
        if len(self.entries) == len(self.index) and np.all(self.index[1:] > self.index[:-1]):
            return frozen(self.entries.view())
        (result,) = empty_arrays(self.shape)
        np.take(self.entries, self.index, axis=0, out=result, mode="clip")
        return frozen(result)


@dataclass(frozen=True, eq=False)
class Differences:
    """Rows of values less their predictions, values - means matrix' - offset, and NaN where those are `unknown`."""

    values: Array
    means: Array
    matrix: Array
    offset: Table
    unknown: BoolArray | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of `at_rows`."""
        return self.values.shape

    def at_rows(self) -> Array:
        """Return the differences."""
        (result,) = empty_arrays(self.shape)
        # For one column `numpy.matmul` takes several times as long; so does an offset that repeats along short rows.
        np.dot(self.means, self.matrix.T, out=result)
        np.subtract(self.values, result, out=result)
        if self.offset.entries.any():
            result -= self.offset.entries[0] if len(self.offset.entries) == 1 else self.offset.at_rows()
        if self.unknown is not None:
            result[self.unknown] = np.nan
        return frozen(result)


def frozen(array: NDArray[Any]) -> NDArray[Any]:
    """Return `array` C-contiguous and read-only; the caller hands it over and writes to it no more."""
    result = np.ascontiguousarray(array) if array.ndim else array
    result.setflags(write=False)
    return result


def as_floats(value: Any, name: str, *, allow_nan: bool = False, allow_bool: bool = True) -> Array:
    """Return a read-only float64 copy of `value`; None in it is NaN, as in pandas, and so are masked entries.

    Raises
    ------
    InputError
        If `value` is not numeric, holds inf (or NaN, unless `allow_nan`), or booleans without `allow_bool`.

    Examples
    --------
    >>> as_floats([1, None], "values", allow_nan=True)
    array([ 1., nan])
    """
    source = _as_source(value, name)
    if source.dtype.kind not in "iufbO":
        raise InputError(f"{name}: expected real numbers, got {_described(source)}")
    if source.dtype == bool and not allow_bool:
        raise InputError(f"{name}: expected numbers, got booleans; turn them into 0 and 1 with .astype(float)")
    odd = _odd_item(source) if source.dtype == object else ""
    if odd:
        raise InputError(f"{name}: expected real numbers, got {odd}")
    array: Array = np.array(source, dtype=np.float64, order="C")
    for marks, what in ((np.isinf(array), "inf"), (np.isnan(array), "NaN")):
        if (what == "NaN" and allow_nan) or not marks.any():
            continue
        if array.ndim == 0:
            raise InputError(f"{name}: expected a finite number, got {what}")
        remedy = "NaN is the marker for missing" if allow_nan else "expected finite numbers"
        raise InputError(f"{name}: holds {what} at {first_position(marks)}; {remedy}")
    array.setflags(write=False)
    return array


def array_key(array: Array) -> tuple[tuple[int, ...], bytes]:
    """Return what is equal, and has an equal hash, exactly for arrays of equal shape and numbers (0 and -0 are equal).

    Examples
    --------
    >>> array_key(np.array([0.0, 1.0])) == array_key(np.array([-0.0, 1.0]))
    True
    """
    return array.shape, (array + 0.0).tobytes()


def as_input_rows(value: Any, n_rows: int, n_columns: int | None, name: str = "inputs") -> Array:
    """Return known inputs as a read-only array of shape (n_rows, n_columns); one dimension is one column.

    Raises
    ------
    InputError
        If `value` is not of finite numbers, or its shape is wrong (`n_columns` of None takes any number).

    Examples
    --------
    >>> as_input_rows([3.0, 4.0], 2, 1).tolist()
    [[3.0], [4.0]]
    """
    array = as_floats(value, name)
    rows = array[:, None] if array.ndim == 1 else array
    if rows.ndim != 2 or len(rows) != n_rows or (n_columns is not None and rows.shape[1] != n_columns):
        shape = shape_text((n_rows, "k" if n_columns is None else n_columns))
        raise InputError(f"{name}: expected shape {shape}, one row a step, got {array.shape}")
    return frozen(rows)


def as_count(value: Any, name: str, *, at_least: int = 1) -> int:
    """Return `value` as an int; `InputError` unless it is a whole number (no bool) of at least `at_least`.

    Examples
    --------
    >>> as_count(3, "n_steps")
    3
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < at_least:
        raise InputError(f"{name}: expected a whole number of at least {at_least}, got {value!r}")
    return int(value)


def shape_text(shape: tuple[int | str, ...]) -> str:
    """Return a shape for a message, letters for lengths that are open.

    Examples
    --------
    >>> shape_text(("T", 2)), shape_text((3,))
    ('(T, 2)', '(3,)')
    """
    return f"({shape[0]},)" if len(shape) == 1 else f"({', '.join(map(str, shape))})"


def check_shape(array: NDArray[Any], shape: tuple[int, ...], name: str) -> None:
    """Raise `InputError` naming both shapes unless `array` has `shape`."""
    if array.shape != shape:
        raise InputError(f"{name}: expected shape {shape}, got {array.shape}")


def first_position(mask: BoolArray) -> str:
    """Return the index of the first True of `mask` as text for a message."""
    position = tuple(int(i) for i in np.argwhere(mask)[0])
    return f"position {position[0] if len(position) == 1 else position}"


def _as_source(value: Any, name: str) -> NDArray[Any]:
    if value is None:
        raise InputError(f"{name}: expected numbers, got None")
    if isinstance(value, np.ma.MaskedArray) and value.dtype.kind in "iufb":
        # A mask says missing; numpy would drop it here and take what lies below.
        return np.ma.filled(value.astype(np.float64), np.nan)
    try:
        return np.asarray(value)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name}: expected rows of equal length, got a ragged {type(value).__name__}") from error


def _described(source: NDArray[Any]) -> str:
    """Return what an array of another kind than numbers holds."""
    if source.dtype.kind in "US":
        return f"text such as {next((item for item in source.ravel().tolist()), '')!r}"
    return {"c": "complex numbers", "M": "dates", "m": "durations"}.get(source.dtype.kind, f"dtype {source.dtype}")


def _odd_item(source: NDArray[Any]) -> str:
    """Return the first item of an array of objects that is neither a real number nor None, for a message."""
    for position, item in enumerate(source.ravel()):
        if item is not None and not isinstance(item, Real):
            at = np.unravel_index(position, source.shape)
            where = f" at position {tuple(map(int, at)) if len(at) > 1 else position}" if at else ""
            return f"{item!r} ({type(item).__name__}){where}"
    return ""
