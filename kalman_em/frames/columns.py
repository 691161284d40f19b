"""Columns of numbers: what may stand in a frame or an array, checked and turned into float64."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from kalman_em.arrays import Array, first_position
from kalman_em.errors import InputError, near_hint
from kalman_em.frames.labels import shown

# Arguments that name a single column.
ONE_COLUMN = ("time", "series")


def column_floats(column: pd.Series[Any], argument: str, *, flags: bool = False) -> Array:
    """Return one column as float64 with NaN where a value is missing.

    Parameters
    ----------
    column : Series
        Numbers of any real numpy or nullable dtype, or objects that are numbers or None (missing).
    argument : str
        The argument named in messages.
    flags : bool
        Whether True and False may stand for 1 and 0.

    Raises
    ------
    InputError
        If the column is not of a numeric dtype (names it and an example), or holds inf (names the row).
    """
    if column.dtype == object and not any(_is_odd(item) for item in column):
        column = pd.Series(_from_objects(column.to_numpy(), argument), index=column.index, name=column.name)
    kind = "complex numbers" if pd.api.types.is_complex_dtype(column.dtype) else ""
    if pd.api.types.is_bool_dtype(column.dtype) and not flags:
        kind = "booleans"
    if kind or not pd.api.types.is_numeric_dtype(column.dtype):
        observed = column[column.notna()]
        if observed.empty:
            return np.full(len(column), np.nan)
        raise InputError(
            f"{argument}: expected numbers in column {column.name!r}, got {kind or _example(observed)}"
            f"{_cure(observed, kind)}"
        )
    values: Array = column.to_numpy(dtype=np.float64, na_value=np.nan)
    infinite = np.isinf(values)
    if infinite.any():
        label = column.index[int(np.argmax(infinite))]
        raise InputError(
            f"{argument}: column {column.name!r} holds inf at {shown(label)}; NaN is the marker for missing"
        )
    return values


def table_floats(frame: pd.DataFrame, columns: Sequence[Hashable], argument: str, *, flags: bool = False) -> Array:
    """Return the columns named as one float64 array, shape (T, number of columns); see `column_floats`."""
    result = np.empty((len(frame), len(columns)))
    for position, column in enumerate(columns):
        result[:, position] = column_floats(frame[column], argument, flags=flags)
    return result


def array_floats(data: Any, argument: str, *, flags: bool = False) -> Array:
    """Return an array or nested list as float64 of shape (T, p); one dimension becomes one column.

    Masked entries of a numpy masked array, None and ``pd.NA`` become NaN.

    Raises
    ------
    InputError
        If it is ragged, not of one or two dimensions, or holds anything but real, finite or missing numbers.
    """
    if isinstance(data, np.ma.MaskedArray):
        data = np.ma.filled(data.astype(np.float64), np.nan) if data.dtype.kind in "iuf" else data.data
    try:
        source = np.asarray(data)
    except (TypeError, ValueError) as error:
        raise InputError(f"{argument}: expected rows of equal length, got a ragged {type(data).__name__}") from error
    if source.dtype == object and source.size and not any(_is_odd(item) for item in source.ravel()):
        source = _from_objects(source, argument)
    allowed = "iufb" if flags else "iuf"
    if source.dtype.kind not in allowed and source.size:
        raise InputError(f"{argument}: expected numbers, got {_wrong_array(data, source)}")
    if source.ndim not in (1, 2):
        raise InputError(
            f"{argument}: expected shape (T,) or (T, {'k' if flags else 'p'}), one row a time step, got {source.shape}"
        )
    values = source.astype(np.float64).reshape(len(source), -1) if source.size else np.empty((0, 0))
    if np.isinf(values).any():
        place = first_position(np.isinf(values))
        raise InputError(f"{argument}: holds inf at {place} (row, column); NaN is the marker for missing")
    return values


def named_columns(frame: pd.DataFrame, names: Any, argument: str) -> list[Hashable]:
    """Return `names` (one column or a list of them) as a list of distinct columns of `frame`.

    Raises
    ------
    InputError
        If it is empty, a name repeats, or the frame has no such column (lists those it has).
    """
    several = isinstance(names, list | tuple | np.ndarray | pd.Index)
    columns: list[Hashable] = list(names) if several else [names]
    for column in columns:
        if not isinstance(column, Hashable):
            raise InputError(
                f"{argument}: expected the name of a column{'' if argument in ONE_COLUMN else ' or a list of them'}, "
                f"got {column!r} ({type(column).__name__})"
            )
    if not columns:
        raise InputError(f"{argument}: expected at least one column, got {names!r}")
    for column in columns:
        if column not in frame.columns:
            known = [str(name) for name in frame.columns]
            raise InputError(
                f"{argument}: no column is called {column!r}; expected one of: {', '.join(known)}"
                f"{near_hint(column, known)}"
            )
    if len(set(columns)) < len(columns):
        raise InputError(f"{argument}: expected distinct columns, got {columns}")
    return columns


def _from_objects(items: np.ndarray[Any, Any], argument: str) -> Array:
    """Return objects that are numbers or markers for missing as float64; None is missing, as pandas has it."""
    try:
        return np.where(pd.isna(items), np.nan, items).astype(np.float64)
    except OverflowError as error:
        raise InputError(f"{argument}: holds a whole number that is too large for a float") from error


def _is_odd(item: Any) -> bool:
    """Return whether an object is neither a real number nor a marker for missing."""
    if item is None or item is pd.NA:
        return False
    return isinstance(item, bool) or not isinstance(item, int | float | np.integer | np.floating)


def _example(observed: pd.Series[Any]) -> str:
    odd = next((item for item in observed if _is_odd(item)), observed.iloc[0])
    return f"{odd!r} ({type(odd).__name__})"


def _cure(observed: pd.Series[Any], kind: str) -> str:
    """Say what would make the column usable."""
    if kind == "booleans":
        return "; turn them into 0 and 1 with .astype(float)"
    if kind:
        return "; model the real and imaginary parts as two columns"
    parsed = pd.to_numeric(observed.astype(object), errors="coerce")
    if bool(pd.isna(parsed).any()):
        return "; choose the columns of numbers with values="
    return "; turn the column into numbers with pd.to_numeric"


def _wrong_array(data: Any, source: np.ndarray[Any, Any]) -> str:
    if source.dtype.kind in "bc":
        return {"b": "booleans", "c": "complex numbers"}[source.dtype.kind]
    # numpy turns a list with one text in it into text altogether.
    items = np.asarray(data, dtype=object).ravel() if isinstance(data, list | tuple) else source.ravel()
    odd = next((item for item in items.tolist() if _is_odd(item)), None)
    if odd is None:
        return f"values of dtype {source.dtype}"
    kind = "text" if isinstance(odd, str) else f"{type(odd).__name__}"
    return f"{kind} such as {odd!r}"
