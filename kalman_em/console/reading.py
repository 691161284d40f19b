"""A CSV file read into a labelled table, ready for a fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from kalman_em.console.columns import Roles, assigned
from kalman_em.console.labelling import labels_of
from kalman_em.console.sheet import Dialect, read_sheet
from kalman_em.console.steps import check_order, check_steps, filled
from kalman_em.console.text import name_of, read_text
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
    inputs : list of str
        The columns of known inputs.
    index : str, optional
        The column that became the labels.
    series : str, optional
        The column that tells the series apart.
    left_out : list of str
        Columns that are neither.
    n_filled : int
        How many empty rows were put in.
    """

    frame: pd.DataFrame
    values: list[str]
    index: str | None
    series: str | None
    left_out: list[str]
    inputs: list[str] = field(default_factory=list)
    n_filled: int = 0

    def describe(self) -> str:
        """Return one line on what was read."""
        parts = [f"{len(self.frame)} rows", self._labels(), f"values {', '.join(self.values)}"]
        if self.inputs:
            parts.append(f"inputs {', '.join(self.inputs)}")
        if self.series is not None:
            parts.append(f"{self.frame[self.series].nunique()} series by {self.series}")
        if self.n_filled:
            parts.append(f"{self.n_filled} of the rows empty, put in for skipped steps")
        if self.left_out:
            parts.append(f"left out {', '.join(self.left_out)}")
        return "; ".join(parts)

    def _labels(self) -> str:
        labels = self.frame.index
        if self.index is None:
            return "rows unlabelled"
        return f"{self.index} {shown(labels.min())} to {shown(labels.max())}"


def read_table(
    source: str,
    *,
    index: str | None = None,
    values: Sequence[str] = (),
    series: str | None = None,
    inputs: Sequence[str] = (),
    unlabelled: bool = False,
    fill_gaps: bool = False,
    dialect: Dialect | None = None,
    encoding: str = "utf-8",
) -> Table:
    """Return the CSV file `source` (``-``: standard input) as a table.

    The labels are in the column `index`; without it in the first column (that of the series aside), if that is
    called date, year or the like, or holds dates or growing whole numbers, and is not one of `values`. `unlabelled`
    has none. The values are `values`, or else every other column of numbers that is not one of `inputs`. `fill_gaps`
    puts an empty row wherever a regular step was skipped.

    Raises
    ------
    InputError
        If the file is not CSV or has no rows, a column named is not there or not of numbers, or the rows do not
        follow one another in regular steps.
    OSError
        If the file cannot be read.
    """
    dialect = Dialect() if dialect is None else dialect
    sheet = read_sheet(read_text(source, encoding), name_of(source), dialect)
    roles = assigned(sheet, index=index, values=values, series=series, inputs=inputs, unlabelled=unlabelled)
    if roles.series is not None and sheet.frame[roles.series].isna().any():
        line = sheet.lines[int(sheet.frame[roles.series].isna().to_numpy().argmax())]
        raise InputError(
            f"column {roles.series!r}: expected the name of a series in every row, got an empty field or NA in "
            f"line {line}"
        )
    kept = [*([] if roles.series is None else [roles.series]), *roles.values, *roles.inputs]
    frame = sheet.frame[kept]
    if roles.index is not None:
        frame = frame.set_axis(labels_of(sheet.frame[roles.index], sheet.lines), axis=0)
    elif fill_gaps:
        raise InputError("--fill-gaps: expected a column that labels the rows (name it with --index), got none")
    regular = _regular(frame, sheet.lines, roles, fill_gaps)
    return Table(
        frame=regular,
        values=roles.values,
        inputs=roles.inputs,
        index=roles.index,
        series=roles.series,
        left_out=roles.left_out,
        n_filled=len(regular) - len(frame),
    )


def _regular(frame: pd.DataFrame, lines: list[int], roles: Roles, fill_gaps: bool) -> pd.DataFrame:
    """Return the frame with every series in regular steps, or raise; in a panel the series follow one another."""
    if roles.index is None:
        return frame
    if roles.series is None:
        return _in_steps(frame, lines, f"column {roles.index!r}", fill_gaps)
    codes, keys = pd.factorize(frame[roles.series])
    parts = []
    for code, key in enumerate(keys.tolist()):
        rows = np.flatnonzero(codes == code)
        where = f"column {roles.index!r} of series {key!r}"
        regular = _in_steps(frame.iloc[rows].copy(), [lines[row] for row in rows], where, fill_gaps)
        regular[roles.series] = key  # in the empty rows too
        parts.append(regular)
    return pd.concat(parts)


def _in_steps(frame: pd.DataFrame, lines: list[int], where: str, fill_gaps: bool) -> pd.DataFrame:
    check_order(frame.index, lines, where)
    return filled(frame, where) if fill_gaps else check_steps(frame, where)
