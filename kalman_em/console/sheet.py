"""CSV text laid out as a sheet: named columns, and rows that know their line; nothing is padded, cut or renamed."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass

import pandas as pd

from kalman_em.console.header import check_names, names_of
from kalman_em.errors import InputError

TAB = {"tab": "\t", r"\t": "\t"}
OFTEN = {";": "semicolons", "\t": "tabs", "|": "bars"}
SAID = {";": "--separator ';'", "\t": "--separator tab", "|": "--separator '|'"}
# So many rows are looked at to tell what separates the fields.
SAMPLE = 20


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """How the fields are written.

    Attributes
    ----------
    separator : str
        Between fields: one character, or ``tab``.
    decimal : str
        The decimal mark: a point or a comma.
    has_header : bool
        Whether the first line names the columns.
    """

    separator: str = ","
    decimal: str = "."
    has_header: bool = True

    def __post_init__(self) -> None:
        mark = TAB.get(self.separator, self.separator)
        if len(mark) != 1 or mark in "\"' \r\n" or mark.isalnum() or not mark.isascii():
            raise InputError(f"--separator: expected one character such as ';', or tab, got {self.separator!r}")
        if self.decimal not in (".", ","):
            raise InputError(f"--decimal: expected . or , as the decimal mark, got {self.decimal!r}")
        if mark == self.decimal:
            raise InputError(f"--decimal: expected another mark than the separator, got {self.decimal!r} for both")
        object.__setattr__(self, "separator", mark)


@dataclass(frozen=True, eq=False)
class Sheet:
    """A table of named columns.

    Attributes
    ----------
    frame : DataFrame
    lines : list of int
        The line of the file that each row ends on, counted from 1.
    dialect : Dialect
    row_numbers : str, optional
        The first column, if it has no name in the file and counts the rows from 0, as pandas writes them.
    """

    frame: pd.DataFrame
    lines: list[int]
    dialect: Dialect
    row_numbers: str | None = None


def read_sheet(text: str, name: str, dialect: Dialect) -> Sheet:
    """Return CSV `text`, called `name` in messages, as a sheet.

    A blank line is a row of a single column (the only way to write a missing value there), but for those at the end.

    Raises
    ------
    InputError
        If there are no rows, a row has more or fewer fields than the header, the fields are separated by something
        else, or the header repeats a name, lacks one or is a row of data.
    """
    body = text.rstrip("\r\n").lstrip("\r\n")
    if not body.strip():
        raise InputError(f"{name}: is empty")
    before = len(text[: text.index(body[0])].splitlines())
    rows, lines = _rows(body, before, name, dialect)
    _check_separator(rows, name, dialect)
    header, n_columns = rows[0], len(rows[0])
    for row, line in zip(rows, lines, strict=True):
        if len(row) != n_columns:
            raise InputError(f"{name}: {_wrong_length(row, line, header, dialect)}")
    if dialect.has_header:
        if len(rows) == 1:
            raise InputError(f"{name}: has a header but no rows")
        check_names(header, rows[1:], name)
    names = names_of(header) if dialect.has_header else [f"column{k + 1}" for k in range(n_columns)]
    frame = pd.read_csv(
        io.StringIO(body, newline=""),
        names=names,
        header=0 if dialect.has_header else None,
        sep=dialect.separator,
        decimal=dialect.decimal,
        skipinitialspace=True,
        skip_blank_lines=False,
        index_col=False,
        low_memory=False,
    )
    lines = lines[1:] if dialect.has_header else lines
    if len(frame) != len(lines):
        raise InputError(f"{name}: is not CSV (expected {len(lines)} rows, got {len(frame)})")
    counts = dialect.has_header and not header[0] and frame[names[0]].tolist() == list(range(len(frame)))
    return Sheet(frame, lines, dialect, names[0] if counts else None)


def _rows(body: str, before: int, name: str, dialect: Dialect) -> tuple[list[list[str]], list[int]]:
    reader = csv.reader(io.StringIO(body, newline=""), delimiter=dialect.separator, skipinitialspace=True, strict=True)
    rows, lines = [], []
    try:
        for row in reader:
            rows.append([field.strip() for field in row] or [""])
            lines.append(before + reader.line_num)
    except csv.Error as error:
        raise InputError(f"{name}: is not CSV ({error} in line {before + reader.line_num})") from error
    return rows, lines


def _check_separator(rows: list[list[str]], name: str, dialect: Dialect) -> None:
    """Turn away a file whose header is one field here, but several with another mark that its rows have too."""
    if len(rows[0]) > 1:
        return
    sample = [dialect.separator.join(row) for row in rows[1 : SAMPLE + 1]]
    for mark in (*OFTEN, ","):
        n = rows[0][0].count(mark)
        if mark != dialect.separator and n and all(row.count(mark) == n for row in sample if row):
            if mark == ",":
                raise InputError(f"{name}: its fields are separated by commas; leave --separator out")
            decimal = " --decimal ','" if any(re.search(r"\d,\d", row) for row in sample) else ""
            raise InputError(f"{name}: its fields are separated by {OFTEN[mark]}; say {SAID[mark]}{decimal}")


def _wrong_length(row: list[str], line: int, header: list[str], dialect: Dialect) -> str:
    n = len(header)
    like = "as in the header" if dialect.has_header else "as in the first row"
    shown = dialect.separator.join(header)
    shown = shown if len(shown) <= 40 else f"{shown[:37]}..."
    came = "a blank line" if row == [""] else str(len(row))
    comment = "; the first line must name the columns" if dialect.has_header and shown.startswith("#") else ""
    return f"expected {n} field{'s' if n > 1 else ''} in line {line}, {like} ({shown}), got {came}{comment}"
