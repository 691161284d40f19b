"""The first line of a CSV file: names of columns, none of them twice, and not a row of data."""

from __future__ import annotations

import re
from collections.abc import Sequence

from kalman_em.errors import InputError

NUMBER = re.compile(r"[-+]?(\d+([.,]\d*)?|[.,]\d+)([eE][-+]?\d+)?")
DATE = re.compile(
    r"\d{4}-\d{2}(-\d{2})?([T ][\d:.,]+)?(Z|[-+]\d{2}:?\d{2})?|\d{4}-?Q[1-4]|\d{1,2}[/.]\d{1,2}[/.]\d{2,4}"
)
# So many rows are compared with the header.
SAMPLE = 20
UNNAMED_FIRST = "row"
CURE = "if that is a row of data say --no-header, if it is names give the columns others"


def check_names(header: Sequence[str], rows: Sequence[Sequence[str]], name: str) -> None:
    """Raise `InputError` unless `header` names the columns of `rows` in the file `name`.

    The first column, and columns that are empty throughout, need no name.
    """
    evidence = _evidence_of_data(header, rows[:SAMPLE])
    if evidence is not None:
        raise InputError(f"{name}: expected names of columns in the first line, got {evidence}; {CURE}")
    for position, column in enumerate(header):
        if column and column in header[:position]:
            first = header.index(column) + 1
            raise InputError(
                f"{name}: expected distinct names of columns, got {column!r} twice (columns {first} and {position + 1})"
            )
        if not column and position > 0 and any(row[position] for row in rows):
            raise InputError(f"{name}: expected a name for every column, got none for column {position + 1}")


def names_of(header: Sequence[str]) -> list[str]:
    """Return a distinct name for every column.

    Examples
    --------
    >>> names_of(["", "flow", ""])
    ['row', 'flow', 'column3']
    """
    names: list[str] = []
    for position, column in enumerate(header):
        name = column or (UNNAMED_FIRST if position == 0 else f"column{position + 1}")
        while not column and (name in header or name in names):
            name += "_"
        names.append(name)
    return names


def is_data(fields: Sequence[str]) -> bool:
    """Return whether every field that is not empty is a number or a date, and one is there.

    Examples
    --------
    >>> is_data(["2024-01-31", "1.5", ""]), is_data(["date", "2024"])
    (True, False)
    """
    filled = [field for field in fields if field]
    return bool(filled) and all(NUMBER.fullmatch(field) or DATE.fullmatch(field) for field in filled)


def _evidence_of_data(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str | None:
    """Return what of the header shows that it is a row of data, None if nothing does."""
    if header[0] == "" and list(header[1:]) == [str(k) for k in range(len(header) - 1)]:
        return None  # as pandas writes a table without names
    if is_data(header):
        kind = "numbers" if all(NUMBER.fullmatch(field) for field in header if field) else "dates and numbers"
        return f"{kind} ({', '.join(header[:5])}{', ...' if len(header) > 5 else ''})"
    for position, field in enumerate(header):
        below = [row[position] for row in rows if row[position]]
        if DATE.fullmatch(field) and below and all(DATE.fullmatch(other) for other in below):
            return f"the date {field} above a column of dates"
        if field and field in below and any(NUMBER.fullmatch(other) for other in header):
            return f"{field!r}, which its column holds again, beside numbers"
    return None
