"""A CSV file read into a labelled table: which column labels the rows, and which hold the values."""

from __future__ import annotations

import io
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from kalman_em.console.labelling import check_steps, filled, labels_of, looks_like_labels
from kalman_em.errors import InputError
from kalman_em.frames.labels import shown


@dataclass(frozen=True, eq=False, kw_only=True)
class Table:
    """A table ready for a fit.

    Attributes
    ----------
    frame : DataFrame
        Rows labelled; the columns of values and, in a panel, that of the series.
    values : list of str
        The columns of values.
    index : str, optional
        The column that became the labels.
    series : str, optional
        The column that tells the series apart.
    left_out : list of str
        Columns that are neither.
    """

    frame: pd.DataFrame
    values: list[str]
    index: str | None
    series: str | None
    left_out: list[str]

    def describe(self) -> str:
        """Return one line on what was read."""
        labels = self.frame.index
        index = "rows unlabelled" if self.index is None else f"{self.index} {shown(labels[0])} to {shown(labels[-1])}"
        parts = [f"{len(self.frame)} rows", index, f"values {', '.join(self.values)}"]
        if self.series is not None:
            parts.append(f"{self.frame[self.series].nunique()} series by {self.series}")
        if self.left_out:
            parts.append(f"left out {', '.join(self.left_out)}")
        return "; ".join(parts)


def read_table(
    source: str,
    *,
    index: str | None = None,
    values: Sequence[str] = (),
    series: str | None = None,
    unlabelled: bool = False,
    fill_gaps: bool = False,
) -> Table:
    """Return the CSV file `source` (``-``: standard input) as a table.

    The labels are in the column `index`; without it in the first column, if that is called date, year or the like,
    or holds dates or growing whole numbers, and is not one of `values`. `unlabelled` has none. The values are
    `values`, or else every other column of numbers. `fill_gaps` puts an empty row wherever a regular step was
    skipped.

    Raises
    ------
    InputError
        If the file is not CSV or has no rows, a column named is not there or not of numbers, or the rows do not
        follow one another in regular steps.
    OSError
        If the file cannot be read.
    """
    frame = _frame(source)
    for name in [*values, *([index] if index else []), *([series] if series else [])]:
        _check_there(frame, name)
    if index is None and not unlabelled:
        index = _found_index(frame, {*values, series})
    columns = list(values) or _numbers(frame, {index, series})
    for position, name in enumerate(columns):
        if name in (index, series) or name in columns[:position]:
            raise InputError(f"column {name!r}: expected one use of it, got two")
        _check_numbers(frame[name])
    left_out = [name for name in frame.columns if name not in (index, series, *columns)]
    if series is not None and frame[series].isna().any():
        raise InputError(f"column {series!r}: expected the name of a series in every row, got an empty field")
    labelled = frame[columns if series is None else [series, *columns]]
    if index is not None:
        labelled = labelled.set_axis(labels_of(frame[index]), axis=0)
    labelled = _regular(labelled, series, fill_gaps)
    return Table(frame=labelled, values=columns, index=index, series=series, left_out=left_out)


def _frame(source: str) -> pd.DataFrame:
    name = "standard input" if source == "-" else source
    try:
        text = sys.stdin.read() if source == "-" else Path(source).read_text(encoding="utf-8")
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            # A blank line is a row (the only way to write a missing value in a single column), but for the last.
            frame = pd.read_csv(
                io.StringIO(text.strip("\r\n")),
                skipinitialspace=True,
                skip_blank_lines=False,
                index_col=False,
                low_memory=False,
            )
    except UnicodeDecodeError as error:
        raise InputError(f"{name}: is not CSV (not UTF-8 text)") from error
    except pd.errors.EmptyDataError as error:
        raise InputError(f"{name}: is empty") from error
    except pd.errors.ParserWarning as error:
        raise InputError(f"{name}: is not CSV (rows are longer than the header)") from error
    except pd.errors.ParserError as error:
        raise InputError(f"{name}: is not CSV ({error})") from error
    frame.columns = pd.Index([str(column).strip() for column in frame.columns])
    if frame.empty:
        raise InputError(f"{name}: has a header but no rows")
    return frame


def _check_there(frame: pd.DataFrame, name: str) -> None:
    if name not in frame.columns:
        raise InputError(f"no column is called {name!r}; expected one of: {', '.join(frame.columns)}")


def _found_index(frame: pd.DataFrame, taken: set[str | None]) -> str | None:
    first = str(frame.columns[0])
    is_labels = frame.shape[1] > 1 and first not in taken and looks_like_labels(frame[first])
    return first if is_labels else None


def _numbers(frame: pd.DataFrame, taken: set[str | None]) -> list[str]:
    others = [str(name) for name in frame.columns if name not in taken]
    columns = [
        name
        for name in others
        if pd.api.types.is_numeric_dtype(frame[name]) and frame[name].dtype != bool and frame[name].notna().any()
    ]
    if columns:
        return columns
    for name in others:
        _check_numbers(frame[name])
    raise InputError("expected a column of numbers beside the one that labels the rows, got none")


def _check_numbers(column: pd.Series[Any]) -> None:
    if pd.api.types.is_numeric_dtype(column.dtype) and column.dtype != bool:
        return
    numbers = pd.to_numeric(column.astype(str), errors="coerce")
    row = int((numbers.isna() & column.notna()).to_numpy().argmax())
    raise InputError(
        f"column {column.name!r}: expected numbers, got {str(column.iloc[row])!r} in line {row + 2}; an empty field "
        "marks a missing value"
    )


def _regular(frame: pd.DataFrame, series: str | None, fill_gaps: bool) -> pd.DataFrame:
    """Return the frame with every series in regular steps, or raise; in a panel the series follow one another."""
    if series is None:
        return filled(frame) if fill_gaps else check_steps(frame)
    parts = []
    for key, part in frame.groupby(series, sort=False):
        regular = filled(part) if fill_gaps else check_steps(part, key)
        parts.append(regular.assign(**{series: key}))
    return pd.concat(parts)
