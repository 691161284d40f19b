"""The column that labels the rows of a CSV file: recognised, and made into dates, periods or numbers."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd

from kalman_em.errors import InputError

LABEL_NAMES = {
    *("date", "dates", "datetime", "time", "timestamp", "t", "period", "index", "row", "step"),
    *("year", "quarter", "month", "week", "day", "hour", "minute", "second"),
}
QUARTER = re.compile(r"\d{4}-?Q[1-4]")
UNLABELLED = "use --no-index if every row is one step whatever its label"


def looks_like_labels(column: pd.Series[Any], series: pd.Series[Any] | None = None) -> bool:
    """Return whether a column labels rows: by its name, or because it holds dates or growing whole numbers.

    In a panel the numbers grow within each of the `series`.
    """
    if str(column.name).lower() in LABEL_NAMES:
        return True
    if column.isna().any():
        return False
    if column.dtype.kind in "iu":
        parts = [column] if series is None else [part for _, part in column.groupby(series)]
        return all(bool((np.diff(part.to_numpy()) > 0).all()) for part in parts)
    return not pd.api.types.is_numeric_dtype(column.dtype) and _dates(column) is not None


def labels_of(column: pd.Series[Any], lines: list[int]) -> pd.Index[Any]:
    """Return the labels of the rows: years and quarters as periods, dates as dates, numbers as they are.

    `lines` are the lines of the file that the rows stand in.

    Raises
    ------
    InputError
        If a label is missing, infinite, or is text but no ISO date.
    """
    name = str(column.name)
    if column.isna().any():
        line = lines[int(column.isna().to_numpy().argmax())]
        raise InputError(f"column {name!r}: expected a label in every row, got an empty field in line {line}")
    if column.dtype.kind in "iu":
        years = name.lower() == "year" and column.between(1, 9999).all()
        if years:
            return pd.PeriodIndex([f"{year:04d}" for year in column], freq="Y", name=name)
    if column.dtype.kind in "iuf":
        infinite = np.isinf(column.to_numpy())
        if infinite.any():
            raise InputError(f"column {name!r}: expected finite labels, got inf in line {lines[infinite.argmax()]}")
        numbers: pd.Index[Any] = pd.Index(column, name=name)
        return numbers
    dates = _dates(column)
    if dates is None:
        row = _odd_row(column)
        raise InputError(
            f"column {name!r}: expected dates such as 2024-01-31 or 2024-01-31T12:30:00, quarters such as 2024Q1, or "
            f"numbers in one form throughout, got {str(column.iloc[row])!r} in line {lines[row]}"
        )
    return dates


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


def _odd_row(column: pd.Series[Any]) -> int:
    """Return the first row whose label is no ISO date."""
    parsed = pd.to_datetime(column.astype(str), format="ISO8601", errors="coerce", utc=True)
    return int(parsed.isna().to_numpy().argmax())
