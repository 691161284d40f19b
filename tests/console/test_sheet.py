"""CSV text as a sheet: what separates its fields, what its first line says, and rows of one length."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kalman_em.console.header import names_of
from kalman_em.console.sheet import Dialect, Sheet, read_sheet
from kalman_em.console.text import read_text
from kalman_em.errors import InputError


def sheet(text: str, **options: Any) -> Sheet:
    return read_sheet(text, "a.csv", Dialect(**options))


def test_rows_know_their_line() -> None:
    read = sheet('\n\nday,"y\nz"\n1,"2"\r\n2,"a\nb"\r\n3,4\n\n')
    assert read.lines == [5, 7, 8]
    assert list(read.frame.columns) == ["day", "y\nz"]


def test_other_separators_and_decimal_marks() -> None:
    frame = sheet("t;y\n1;1,5\n2;-2,25e1\n3;\n", separator=";", decimal=",").frame
    np.testing.assert_array_equal(frame["y"], [1.5, -22.5, np.nan])
    frame = sheet("t\ty\n1\t\n2\t2.5\n", separator="tab").frame
    np.testing.assert_array_equal(frame["y"], [np.nan, 2.5])


def test_without_a_header_columns_are_numbered() -> None:
    read = sheet("2024-01-01,5\n2024-01-02,6\n", has_header=False)
    assert read.frame.to_numpy().tolist() == [["2024-01-01", 5], ["2024-01-02", 6]]
    assert (list(read.frame.columns), read.lines) == (["column1", "column2"], [1, 2])


def test_row_numbers_as_pandas_writes_them_are_seen() -> None:
    assert sheet(",y\n0,5\n1,6\n").row_numbers == "row"
    assert sheet(",y\n1,5\n2,6\n").row_numbers is None
    assert sheet("row,y\n0,5\n1,6\n").row_numbers is None
    assert sheet(",0,1\n0,5,4\n1,6,4\n").frame.columns.tolist() == ["row", "0", "1"]


def test_unnamed_columns_get_names_of_their_own() -> None:
    assert names_of(["", "row", "column3", ""]) == ["row_", "row", "column3", "column4"]
    assert names_of(["y", "column3", ""]) == ["y", "column3", "column3_"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("date;y\n1;1.5\n2;2\n", "a.csv: its fields are separated by semicolons; say --separator ';'"),
        ("date;y\n1;1,5\n2;2\n", "separated by semicolons; say --separator ';' --decimal ','"),
        ("date\ty\n1\t1.5\n", "separated by tabs; say --separator tab"),
        ("date|y\n1|1.5\n", "separated by bars; say --separator '|'"),
        (
            "1\n2\n3\n",
            "expected names of columns in the first line, got numbers (1); if that is a row of data say --no-",
        ),
        ("2024-01-01,5,\n2024-01-02,2,3\n", "got dates and numbers (2024-01-01, 5, ); if"),
        ("a,2024-01-01,5\nb,2024-01-02,6\n", "got the date 2024-01-01 above a column of dates; if"),
        ("a,1,5\na,2,6\nb,1,6\n", "got 'a', which its column holds again, beside numbers; if"),
        ("0,1\n5,4\n", "got numbers (0, 1)"),
        ("t,y,y\n1,2,3\n", "a.csv: expected distinct names of columns, got 'y' twice (columns 2 and 3)"),
        ("t,y, y\n1,2,3\n", "got 'y' twice (columns 2 and 3)"),
        ("t,,y\n1,2,3\n", "a.csv: expected a name for every column, got none for column 2"),
        ("t,y\n1,2\n3\n4,5\n", "a.csv: expected 2 fields in line 3, as in the header (t,y), got 1"),
        ("t,y\n1,2\n\n4,5\n", "expected 2 fields in line 3, as in the header (t,y), got a blank line"),
        ("# of a logger\nt,y\n1,2\n", "expected 1 field in line 2, as in the header (# of a logger), got 2; the first"),
        ('t,y\n1,"2\n', "a.csv: is not CSV (unexpected end of data in line 2)"),
    ],
)
def test_what_is_no_sheet_is_said(text: str, message: str) -> None:
    with pytest.raises(InputError) as raised:
        sheet(text)
    assert message in str(raised.value)


def test_a_table_of_years_is_no_row_of_data() -> None:
    assert sheet("place,2019,2020\nA,1,2\nB,3,4\n").frame.columns.tolist() == ["place", "2019", "2020"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"separator": "ab"}, "--separator: expected one character such as ';', or tab, got 'ab'"),
        ({"separator": "x"}, "--separator: expected one character"),
        ({"separator": " "}, "--separator: expected one character"),
        ({"decimal": ";"}, "--decimal: expected . or , as the decimal mark, got ';'"),
        ({"decimal": ","}, "--decimal: expected another mark than the separator"),
    ],
)
def test_marks_that_cannot_be(options: dict[str, str], message: str) -> None:
    with pytest.raises(InputError) as raised:
        Dialect(**options)  # type: ignore[arg-type]
    assert message in str(raised.value)


def test_a_separator_too_many_is_said() -> None:
    with pytest.raises(InputError, match="its fields are separated by commas; leave --separator out"):
        sheet("t,y\n1,2\n", separator=";")


@pytest.mark.parametrize(
    ("content", "encoding", "message"),
    [
        (b"PK\x03\x04rest", "utf-8", "is an Excel workbook or a zip archive; save the sheet as CSV"),
        (b"\x1f\x8brest", "utf-8", "is compressed (gzip); unpack it"),
        ("t,y\n".encode("utf-16"), "utf-8", "is UTF-16 text; say --encoding utf-16"),
        ("t,y\n1,2\né,3\n".encode("cp1252"), "utf-8", "(not UTF-8 text: byte 0xe9 in line 3); name its encoding"),
        (b"t,y\n\0,2\n", "utf-8", "is not CSV (a NUL character in line 2)"),
        (b"t,y\n", "cp9999", "--encoding: expected a name such as utf-8, cp1252 or utf-16, got 'cp9999'"),
    ],
)
def test_what_is_no_text_is_said(content: bytes, encoding: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(InputError) as raised:
        read_text(str(tmp_path / "a.csv"), encoding)
    assert message in str(raised.value)


@pytest.mark.parametrize("encoding", ["utf-8", "UTF8", "cp1252", "utf-16"])
def test_text_in_other_encodings(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("température,y\r\n1,2\r\n".encode(encoding))
    assert read_text(str(tmp_path / "a.csv"), encoding).startswith("température,y")
