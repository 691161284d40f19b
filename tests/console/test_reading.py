"""CSV files read for the command line: labels and values recognised, gaps filled or refused, errors in one line."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kalman_em.console.labelling import labels_of
from kalman_em.console.reading import Table, read_table
from kalman_em.errors import InputError

SEA = Path(__file__).resolve().parents[2] / "datasets" / "sea_surface_temperature_halfhourly.csv"


def rows(labels: list[Any], header: str = "date,y") -> str:
    values = np.random.default_rng(3).standard_normal(len(labels)).round(3)
    return "\n".join([header, *(f"{label},{value}" for label, value in zip(labels, values, strict=True))]) + "\n"


def dates(*days: int) -> list[str]:
    return [f"2024-03-{day:02d}" for day in days]


def read(text: str, tmp_path: Path, **options: Any) -> Table:
    (tmp_path / "a.csv").write_text(text, encoding="utf-8")
    return read_table(str(tmp_path / "a.csv"), **options)


@pytest.mark.parametrize(
    ("text", "options", "shown"),
    [
        (rows([2001, 2002, 2003, 2004], "Year,y"), {}, "4 rows; Year 2001 to 2004; values y"),
        (rows([3, 5, 7, 9], "sample,y"), {}, "4 rows; sample 3 to 9; values y"),
        (rows([3, 5, 4, 9], "x,y"), {}, "4 rows; rows unlabelled; values x, y"),
        (rows([0.0, 0.5, 1.0, 1.5], "t,y"), {}, "4 rows; t 0.0 to 1.5; values y"),
        (rows([0.0, 0.5, 1.0, 1.5], "x,y"), {}, "4 rows; rows unlabelled; values x, y"),
        (rows(dates(1, 2, 3, 4), "when,y"), {}, "4 rows; when 2024-03-01 to 2024-03-04; values y"),
        (rows(["2023Q3", "2023Q4", "2024Q1"], "quarter,y"), {}, "3 rows; quarter 2023Q3 to 2024Q1; values y"),
        (rows(["2023-11", "2023-12", "2024-01"], "month,y"), {}, "3 rows; month 2023-11-01 to 2024-01-01; values y"),
        (rows([1, 2, 3, 4], "x,y"), {"values": ["x"]}, "4 rows; rows unlabelled; values x; left out y"),
        (rows([1, 5, 6, 8], "step,y"), {"unlabelled": True}, "4 rows; rows unlabelled; values step, y"),
        ("y\n1.0\n\n2.0\n1.5\n\n", {}, "4 rows; rows unlabelled; values y"),
        ("date\n2\n5\n3\n", {}, "3 rows; rows unlabelled; values date"),
        (
            "place,y , t\nA,1,1\nA,2.5,2\nB,,3\n",
            {"index": "t"},
            "3 rows; t 1 to 3; values y; left out place (not numbers)",
        ),
        ("id,t,y\na,1,1\na,2,2\nb,1,3\n", {"series": "id"}, "3 rows; t 1 to 2; values y; 2 series by id"),
        ("id,n,y\na,1,1\na,2,2\nb,1,3\n", {"series": "id"}, "3 rows; n 1 to 2; values y; 2 series by id"),
        ("n,y\n1,1\n2,\n", {"unlabelled": True}, "2 rows; rows unlabelled; values n, y"),
        ("t,x,y\n1,1,\n2,2,\n", {}, "2 rows; t 1 to 2; values x; left out y (empty)"),
        ("t,y,\n1,1,\n2,2,\n", {}, "2 rows; t 1 to 2; values y; left out column3 (empty)"),
        (
            ",date,y\n0,2024-01-01,1\n1,2024-01-02,2\n",
            {},
            "2 rows; date 2024-01-01 to 2024-01-02; values y; left out row (row numbers)",
        ),
        (",x,y\n0,5,1\n1,3,2\n", {}, "2 rows; row 0 to 1; values x, y"),
        ('t,"a, b",c\n1,2,3\n2,3,4\n', {"values": ["a, b", "c"]}, "2 rows; t 1 to 2; values a, b, c"),
        ("t,a,b\n1,2,3\n2,3,4\n", {"values": ["b, a"]}, "2 rows; t 1 to 2; values b, a"),
        (
            "t,y\n1,1\n2,2\n4,2\n",
            {"fill_gaps": True},
            "4 rows; t 1 to 4; values y; 1 of the rows empty, put in for skipped steps",
        ),
        ("t,id,y\n1,a,1\n2,a,2\n1,b,3\n", {"series": "id"}, "3 rows; t 1 to 2; values y; 2 series by id"),
    ],
)
def test_labels_and_values_are_recognised(text: str, options: dict[str, Any], shown: str, tmp_path: Path) -> None:
    assert read(text, tmp_path, **options).describe() == shown


def test_time_zones_are_kept_and_offsets_that_change_are_brought_to_utc(tmp_path: Path) -> None:
    fixed = ["2024-03-01T00:30:00Z", "2024-03-01T01:00:00Z", "2024-03-01T01:30:00Z"]
    seasons = ["2024-03-31T01:00:00+01:00", "2024-03-31T03:00:00+02:00", "2024-03-31T04:00:00+02:00"]
    for labels in (fixed, seasons):
        index = read(rows(labels), tmp_path).frame.index
        assert str(index.tz) == "UTC"
        assert [label == pd.Timestamp(text) for label, text in zip(index, labels, strict=True)] == [True] * 3


def test_years_are_periods_and_other_whole_numbers_stay_numbers() -> None:
    for name in ("year", "Year"):
        labels = labels_of(pd.Series([999, 1000], name=name), [2, 3])
        assert labels.equals(pd.PeriodIndex(["0999", "1000"], freq="Y"))
        assert labels.name == name
    assert labels_of(pd.Series([20240, 20241], name="year"), [2, 3]).dtype == "int64"
    assert labels_of(pd.Series([1999, 2000], name="step"), [2, 3]).dtype == "int64"


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path: Path) -> None:
    assert read("\ufeff" + rows([1, 2, 3], "step,y"), tmp_path).index == "step"


def test_empty_fields_are_missing_values(tmp_path: Path) -> None:
    values = read("step,y\n1,2.5\n2,\n3,NA\n", tmp_path).frame["y"]
    assert values.isna().tolist() == [False, True, True]


@pytest.mark.parametrize(
    ("labels", "header", "places"),
    [
        (dates(1, 2, 5, 6, 7), "date,y", [0, 1, 4, 5, 6]),
        ([2001, 2002, 2005, 2006], "year,y", [0, 1, 4, 5]),
        ([2, 4, 6, 12], "step,y", [0, 1, 2, 5]),
        ([0.0, 0.5, 1.0, 2.0], "t,y", [0, 1, 2, 4]),
        (["2023Q3", "2023Q4", "2024Q3"], "quarter,y", [0, 1, 4]),
        (dates(1, 2, 3), "date,y", [0, 1, 2]),
    ],
)
def test_fill_gaps_puts_empty_rows_at_skipped_steps(
    labels: list[Any], header: str, places: list[int], tmp_path: Path
) -> None:
    table = read(rows(labels, header), tmp_path, fill_gaps=True)
    assert np.flatnonzero(table.frame["y"].notna()).tolist() == places
    assert table.frame.index[places].astype(str).tolist() == [str(label) for label in labels]


def test_fill_gaps_works_on_a_real_sensor() -> None:
    frame = read_table(str(SEA), fill_gaps=True).frame
    assert (len(frame), int(frame["temperature_c"].isna().sum())) == (8824, 24)


def test_fill_gaps_fills_each_series_of_a_panel(tmp_path: Path) -> None:
    text = "id,t,y\na,1,1\na,2,3\nb,1,2\na,5,4\nb,2,1\nb,3,2\n"
    frame = read(text, tmp_path, series="id", index="t", fill_gaps=True).frame
    assert frame["id"].tolist() == list("aaaaabbb")
    assert frame["y"].isna().sum() == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a.csv: is empty"),
        ("\n\n", "a.csv: is empty"),
        ("date,y\n", "a.csv: has a header but no rows"),
        ("date,y\n2024-03-01,1\n2024-03-02,1,2\n", "expected 2 fields in line 3, as in the header (date,y), got 3"),
        ("date,y\n2024-03-01,1,2\n2024-03-02,1,2\n", "expected 2 fields in line 2, as in the header"),
        ('date,y\n2024-03-01,"1\n', "a.csv: is not CSV"),
        ("date,place\n2024-03-01,A\n2024-03-02,B\n", "column 'place': expected numbers, got 'A' in line 2"),
        ("date\n2024-03-01\n2024-03-02\n", "column 'date': expected numbers, got '2024-03-01' in line 2"),
        ("date,y\n2024-03-01,\n2024-03-02,\n", "column 'y': expected numbers, got empty fields throughout"),
        ("date,y\n2024-03-01,1\n2024-03-02,high\n", "column 'y': expected numbers, got 'high' in line 3"),
        ("date,y\n2024-03-01,True\n2024-03-02,False\n", "column 'y': expected numbers, got 'True'"),
        ("date,y\n01/03/2024,1\n02/03/2024,1\n", "column 'date': expected dates such as 2024-01-31"),
        (
            "date,y\n2024-03-01,1\n,2\n2024-03-03,2\n",
            "'date': expected a label in every row, got an empty field in line 3",
        ),
        (rows(dates(1, 2, 2, 3)), "expected distinct labels, got 2024-03-02 again in line 4; if"),
        (
            rows(dates(1, 3, 2, 4)),
            "expected labels in time order, got 2024-03-02 after 2024-03-03 in line 4; sort the rows, or use",
        ),
        (
            rows(dates(1, 8, 22, 29)),
            "column 'date': expected regular steps, got a gap after 2024-03-08 (1 step skipped before 2024-03-22; one "
            "step is 1 week); use --fill-gaps to put an empty row at each skipped step, or use --no-index if every row "
            "is one step whatever its label",
        ),
        (
            rows([2001, 2002, 2004], "year,y"),
            "got a gap after 2002 (1 step skipped before 2004; one step is 1 year); use",
        ),
        (rows(["2024-03-01", "2024-03-02", "2024-03-02T07:13"]), "bring the rows onto a regular grid, or use --no-"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as raised:
        read(text, tmp_path)
    assert message in str(raised.value)


def test_uneven_labels_are_not_filled(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="bring the rows onto a regular grid"):
        read(rows(["2024-03-01", "2024-03-02", "2024-03-02T07:13"]), tmp_path, fill_gaps=True)


def test_binary_files_are_not_csv(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"\x89AB\xff\xfe,\n1,2\n")
    with pytest.raises(InputError, match=r"a\.csv: is not CSV \(not UTF-8 text: byte 0x89 in line 1\)"):
        read_table(str(tmp_path / "a.csv"))


def test_gaps_in_one_series_of_a_panel_name_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="column 't' of series 'b': expected regular steps, got a gap after 2"):
        read("id,t,y\na,1,1\na,2,3\na,3,4\nb,1,2\nb,2,1\nb,4,2\n", tmp_path, series="id", index="t")
    with pytest.raises(InputError, match="column 'id': expected the name of a series in every row, got an empty"):
        read("id,t,y\na,1,1\n,2,3\n", tmp_path, series="id", index="t")


def test_labels_may_stand_in_any_order_over_series_but_not_within_one(tmp_path: Path) -> None:
    text = "id,t,y\na,1,1\nb,1,2\na,2,3\nb,2,1\na,2,4\n"
    with pytest.raises(
        InputError, match="column 't' of series 'a': expected distinct labels, got 2 again in line 6; if"
    ):
        read(text, tmp_path, series="id")


def test_far_more_empty_rows_than_rows_are_refused(tmp_path: Path) -> None:
    text = rows(["2024-01-15T01:00:00", "2024-01-15T01:00:01", "2204-01-15T01:00:00"])
    with pytest.raises(InputError, match="--fill-gaps would put 5680195198 empty rows beside 3; check the labels"):
        read(text, tmp_path, fill_gaps=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"values": ["flo"]},
            "--values: no column is called 'flo' (did you mean 'flow'?); expected one of: t, flow, id",
        ),
        ({"index": "T"}, "--index: no column is called 'T' (did you mean 't'?)"),
        ({"series": "ident"}, "--series: no column is called 'ident'"),
        ({"values": ["flow", "flow"]}, "--values: column 'flow' is already used by --values"),
        ({"index": "t", "series": "t"}, "--series: column 't' is already used by --index"),
        ({"values": ["empty"]}, "--values: expected numbers in column 'empty', got empty fields throughout"),
        ({"fill_gaps": True, "unlabelled": True}, "--fill-gaps: expected a column that labels the rows"),
    ],
)
def test_options_that_do_not_fit_are_named(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as raised:
        read("t,flow,id,empty\n1,2,a,\n2,3,a,\n", tmp_path, **options)
    assert message in str(raised.value)
