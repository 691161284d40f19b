"""The column that labels the rows of a CSV file: recognised, made into dates, periods or numbers, checked for gaps."""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import numpy as np
import pandas as pd

from kalman_em.errors import InputError
from kalman_em.frames import as_index, check_regular
from kalman_em.frames.spacing import grid_of, has_spacing

LABEL_NAMES = {
    *("date", "dates", "datetime", "time", "timestamp", "t", "period", "index", "row", "step"),
    *("year", "quarter", "month", "week", "day", "hour", "minute", "second"),
}
QUARTER = re.compile(r"\d{4}-?Q[1-4]")
UNLABELLED = "use --no-index if every row is one step whatever its label"


def looks_like_labels(column: pd.Series[Any]) -> bool:
    """Return whether a first column labels rows: by its name, or because it holds dates or growing whole numbers."""
    if str(column.name).lower() in LABEL_NAMES or str(column.name).startswith("Unnamed:"):
        return True
    if column.isna().any():
        return False
    if column.dtype.kind in "iu":
        return bool((np.diff(column.to_numpy()) > 0).all())
    return not pd.api.types.is_numeric_dtype(column.dtype) and _dates(column) is not None


def labels_of(column: pd.Series[Any]) -> pd.Index[Any]:
    """Return the labels of the rows: years and quarters as periods, dates as dates, numbers as they are.

    Raises
    ------
    InputError
        If a label is missing, or is text but no ISO date.
    """
    name = str(column.name)
    if column.isna().any():
        row = int(column.isna().to_numpy().argmax())
        raise InputError(f"column {name!r}: expected a label in every row, got an empty field in line {row + 2}")
    if column.dtype.kind in "iu":
        years = name.lower() == "year" and column.between(1, 9999).all()
        if years:
            return pd.PeriodIndex([f"{year:04d}" for year in column], freq="Y", name=name)
    if column.dtype.kind in "iuf":
        numbers: pd.Index[Any] = pd.Index(column, name=name)
        return numbers
    dates = _dates(column)
    if dates is None:
        raise InputError(
            f"column {name!r}: expected dates such as 2024-01-31 or 2024-01-31T12:30:00, quarters such as 2024Q1, or "
            f"numbers in one form throughout, got {_odd(column)!r}"
        )
    return dates


def check_steps(frame: pd.DataFrame, key: Hashable = None) -> pd.DataFrame:
    """Return `frame` if its rows follow one another in regular steps; `InputError` with a cure otherwise."""
    of_series = "" if key is None else f" of series {key!r}"
    index = as_index(frame.index, f"index{of_series}")
    try:
        check_regular(index, series=key)
    except InputError as error:
        # The cure in the message is for pandas; a command has its own.
        even = has_spacing(index) and grid_of(index) is not None
        cure = (
            "use --fill-gaps to put an empty row at each skipped step" if even else "bring the rows onto a regular grid"
        )
        raise InputError(f"{str(error).split('; ')[0]}; {cure}, or {UNLABELLED}") from error
    return frame


def filled(frame: pd.DataFrame) -> pd.DataFrame:
    """Return `frame` with an empty row at each step that its labels skip; as it is where they are uneven."""
    index = as_index(frame.index, "index")
    grid = grid_of(index) if has_spacing(index) else None
    if grid is None or grid.n_skipped == 0:
        return check_steps(frame)
    if isinstance(index, pd.DatetimeIndex):
        regular = frame.asfreq(grid.step)
    else:
        regular = frame.reindex(_every_step(index, grid.step, int(grid.jumps.sum()) + 1))
    if regular.notna().sum().sum() != frame.notna().sum().sum():
        raise InputError(f"index: the skipped steps of {index.name!r} cannot be filled in; {UNLABELLED}")
    return regular


def _every_step(index: pd.Index[Any], step: Any, n_steps: int) -> pd.Index[Any]:
    if isinstance(index, pd.PeriodIndex):
        periods = [index[0] + int(step) * k for k in range(n_steps)]
        return pd.PeriodIndex(periods, dtype=index.dtype, name=index.name)
    labels: pd.Index[Any] = pd.Index(index[0] + step * np.arange(n_steps), dtype=index.dtype, name=index.name)
    return labels


def _dates(column: pd.Series[Any]) -> pd.DatetimeIndex | pd.PeriodIndex | None:
    """Return the labels as dates or quarters, None if they are neither."""
    text = column.astype(str).str.strip()
    if text.str.fullmatch(QUARTER).all():
        return pd.PeriodIndex(text.tolist(), freq="Q", name=str(column.name))
    for utc in (False, True):  # offsets that change with the season are brought to UTC
        try:
            return pd.DatetimeIndex(pd.to_datetime(text, format="ISO8601", utc=utc), name=str(column.name))
        except ValueError:
            continue
    return None


def _odd(column: pd.Series[Any]) -> str:
    """Return the first label that is no ISO date."""
    text = column.astype(str)
    parsed = pd.to_datetime(text, format="ISO8601", errors="coerce", utc=True)
    return str(text[parsed.isna()].iloc[0]) if parsed.isna().any() else str(text.iloc[0])
