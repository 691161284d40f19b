"""Which columns of a sheet are labels, series and values: as named, or as they look."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np
import pandas as pd

from kalman_em.console.labelling import looks_like_labels
from kalman_em.console.sheet import Sheet
from kalman_em.errors import InputError

# The squares of larger numbers overflow; those of a column of smaller ones vanish.
LARGEST, SMALLEST = 1e150, 1e-150
# So many names are listed in a message.
MOST_NAMES = 20


@dataclass(frozen=True, kw_only=True)
class Roles:
    """What the columns of a sheet are for.

    Attributes
    ----------
    values, inputs : list of str
    index, series : str, optional
    left_out : list of str
        The others; in brackets why, where nobody asked for it.
    """

    values: list[str]
    inputs: list[str]
    index: str | None
    series: str | None
    left_out: list[str]


def assigned(
    sheet: Sheet,
    *,
    index: str | None,
    values: Sequence[str],
    series: str | None,
    inputs: Sequence[str] = (),
    unlabelled: bool = False,
) -> Roles:
    """Return the roles of the columns.

    Raises
    ------
    InputError
        If a column named is not there, has two roles, or is not of numbers where values are expected.
    """
    frame = sheet.frame
    names = [str(name) for name in frame.columns]
    chosen = [name for text in values for name in _split(text, names)]
    known = [name for text in inputs for name in _split(text, names)]
    for option, wanted in (("--values", chosen), ("--inputs", known), ("--index", [index]), ("--series", [series])):
        for name in wanted:
            if name is not None and name not in names:
                raise InputError(f"{option}: {_unknown(name, names)}")
    _check_one_role(chosen, known, index, series)
    if index is None and not unlabelled:
        index = _found_index(sheet, {*chosen, *known, series}, series)
    others = [name for name in names if name not in (index, series, *known)]
    columns = chosen or [name for name in others if name != sheet.row_numbers and _is_of_values(sheet, name)]
    for name in known:
        check_numbers(sheet, name)
        if frame[name].isna().any():
            line = sheet.lines[int(frame[name].isna().to_numpy().argmax())]
            raise InputError(
                f"--inputs: expected a known value of {name!r} in every row, got an empty field in line {line}"
            )
    for name in columns:
        check_numbers(sheet, name)
        if frame[name].isna().all():
            raise InputError(f"--values: expected numbers in column {name!r}, got empty fields throughout")
    if not columns:
        raise InputError(_no_values(sheet, others, index, series))
    left_out = [name if chosen else f"{name} ({_why(sheet, name)})" for name in others if name not in columns]
    return Roles(values=columns, inputs=known, index=index, series=series, left_out=left_out)


def check_numbers(sheet: Sheet, name: str) -> None:
    """Raise `InputError` naming the first field of a column that is no finite number."""
    column = sheet.frame[name]
    if is_numeric(column):
        _check_sizes(sheet, name)
        return
    row = int((_parsed(sheet, name).isna() & column.notna()).to_numpy().argmax())
    field = str(column.iloc[row])
    raise InputError(
        f"column {name!r}: expected numbers, got {field!r} in line {sheet.lines[row]}; {_cure(field, sheet)}"
    )


def _check_sizes(sheet: Sheet, name: str) -> None:
    values = np.abs(sheet.frame[name].to_numpy(dtype=np.float64, na_value=np.nan))
    too_large = values > LARGEST
    if not too_large.any():
        largest = float(np.nanmax(values, initial=0.0))
        if 0.0 < largest < SMALLEST:
            raise InputError(
                f"column {name!r}: expected numbers beyond {SMALLEST:g}, got none above {largest:g}; use other units"
            )
        return
    row = int(too_large.argmax())
    if np.isinf(values[row]):
        expected, came, cure = "finite numbers", "inf", "an empty field marks a missing value"
    else:
        expected, came, cure = f"numbers within {LARGEST:g}", f"{values[row]:g}", "use other units"
    raise InputError(f"column {name!r}: expected {expected}, got {came} in line {sheet.lines[row]}; {cure}")


def is_numeric(column: pd.Series[Any]) -> bool:
    """Return whether a column was read as numbers."""
    return pd.api.types.is_numeric_dtype(column.dtype) and column.dtype != bool


def _split(text: str, names: Sequence[str]) -> list[str]:
    """Return the names in ``a,b``; a name may hold a comma itself."""
    return [text] if text in names else [name.strip() for name in text.split(",") if name.strip()]


def _unknown(name: str, names: Sequence[str]) -> str:
    near = get_close_matches(name, names, n=1) or [other for other in names if name.lower() in other.lower()][:1]
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    more = ", ..." if len(names) > MOST_NAMES else ""
    return f"no column is called {name!r}{hint}; expected one of: {', '.join(names[:MOST_NAMES])}{more}"


def _check_one_role(values: Sequence[str], inputs: Sequence[str], index: str | None, series: str | None) -> None:
    roles: dict[str, str] = {}
    for option, names in (("--index", [index]), ("--series", [series]), ("--values", values), ("--inputs", inputs)):
        for name in names:
            if name in roles:
                raise InputError(f"{option}: column {name!r} is already used by {roles[name]}")
            if name is not None:
                roles[name] = option


def _found_index(sheet: Sheet, taken: set[str | None], series: str | None) -> str | None:
    """Return the first column, but for that of the series, if it looks like labels.

    Row numbers that stand before a column of labels are passed over: the labels say more.
    """
    frame = sheet.frame
    groups = None if series is None else frame[series]
    candidates = [str(name) for name in frame.columns if name != series][:2]
    if candidates[:1] == [sheet.row_numbers]:
        candidates.reverse()
    else:
        candidates = candidates[:1]
    for name in candidates:
        has_company = frame.shape[1] > 1 + (series is not None)
        if has_company and name not in taken and looks_like_labels(frame[name], groups):
            return name
    return None


def _is_of_values(sheet: Sheet, name: str) -> bool:
    """Return whether a column that nobody named holds values; one of numbers and text is turned away."""
    column = sheet.frame[name]
    if is_numeric(column):
        return bool(column.notna().any())
    if column.dtype != bool and _parsed(sheet, name).notna().any():
        try:
            check_numbers(sheet, name)
        except InputError as error:
            raise InputError(f"{error}, or leave the column out with --values") from error
    return False


def _parsed(sheet: Sheet, name: str) -> pd.Series[Any]:
    text = sheet.frame[name].astype(str).where(sheet.frame[name].notna())
    if sheet.dialect.decimal == ",":
        text = text.str.replace(",", ".", regex=False)
    return pd.to_numeric(text, errors="coerce")


def _cure(field: str, sheet: Sheet) -> str:
    if re.fullmatch(r"[-+]?\d+,\d+", field) and sheet.dialect.separator != ",":
        return "if the comma is the decimal mark say --decimal ','"
    if re.fullmatch(r"[-+]?\d{1,3}([, ']\d{3})+(\.\d*)?", field):
        return "write it without marks between the thousands"
    return "an empty field marks a missing value"


def _no_values(sheet: Sheet, others: Sequence[str], index: str | None, series: str | None) -> str:
    empty = [name for name in others if sheet.frame[name].isna().all()]
    if empty:
        shown = ", ".join(repr(name) for name in empty[:MOST_NAMES])
        return f"column{'s' if len(empty) > 1 else ''} {shown}: expected numbers, got empty fields throughout"
    for name in others:
        check_numbers(sheet, name)
    used = [f"{name!r} ({role})" for name, role in ((index, "labels"), (series, "series")) if name is not None]
    return f"expected a column of numbers beside {' and '.join(used)}, got none"


def _why(sheet: Sheet, name: str) -> str:
    if name == sheet.row_numbers:
        return "row numbers"
    return "empty" if sheet.frame[name].isna().all() else "not numbers"
