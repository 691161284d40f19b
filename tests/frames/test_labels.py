"""Row labels: what is refused, what counts as regular, and what comes after the end."""

import numpy as np
import pandas as pd
import pytest

from kalman_em.errors import InputError
from kalman_em.frames import as_index, check_regular, continued_index, same_labels

MONTH_BEGIN, MONTH_END = pd.offsets.MonthBegin(), pd.offsets.MonthEnd()
DATES = {
    "half-hourly": pd.date_range("2024-03-01", periods=60, freq="30min"),
    "daily": pd.date_range("2024-02-20", periods=30, freq="D"),
    "every second day": pd.date_range("2024-02-20", periods=30, freq="2D"),
    "weekly": pd.date_range("1958-03-29", periods=30, freq="W-SAT"),
    "fortnightly": pd.date_range("1958-03-29", periods=30, freq="2W-SAT"),
    "business days": pd.date_range("2024-02-22", periods=30, freq="B"),
    "month starts": pd.date_range("2023-11-01", periods=30, freq=MONTH_BEGIN),
    "three months of 31 days": pd.date_range("2023-07-01", periods=5, freq=MONTH_BEGIN),
    "month ends": pd.date_range("2023-11-30", periods=30, freq=MONTH_END),
    "the 15th of the month": pd.date_range("2023-11-15", periods=30, freq=pd.DateOffset(months=1)),
    "last business days": pd.date_range("2023-11-30", periods=30, freq=pd.offsets.BMonthEnd()),
    "first business days": pd.date_range("2023-12-01", periods=30, freq=pd.offsets.BMonthBegin()),
    "quarter starts": pd.date_range("1959-01-01", periods=30, freq=pd.offsets.QuarterBegin(startingMonth=1)),
    "odd quarter starts": pd.date_range("1959-02-01", periods=30, freq=pd.offsets.QuarterBegin(startingMonth=2)),
    "quarter ends": pd.date_range("1959-03-31", periods=30, freq=pd.offsets.QuarterEnd(startingMonth=12)),
    "odd quarter ends": pd.date_range("1959-01-31", periods=30, freq=pd.offsets.QuarterEnd(startingMonth=10)),
    "year starts": pd.date_range("1871-01-01", periods=30, freq=pd.offsets.YearBegin()),
    "year ends": pd.date_range("1871-12-31", periods=30, freq=pd.offsets.YearEnd()),
    "years from July": pd.date_range("1871-07-01", periods=30, freq=pd.offsets.YearBegin(month=7)),
    "odd spacing": pd.date_range("2024-01-01 00:00:07", periods=30, freq=pd.Timedelta(seconds=97)),
    "UTC": pd.date_range("2024-02-20", periods=30, freq="D", tz="UTC"),
    "local days over a change of clocks": pd.date_range("2024-03-20", periods=30, freq="D", tz="Europe/Berlin"),
    "local hours over a change of clocks": pd.date_range("2024-03-30", periods=50, freq="h", tz="Europe/Berlin"),
    "local months": pd.date_range("2024-01-01", periods=12, freq=MONTH_BEGIN, tz="America/New_York"),
}
OTHERS = {
    "annual periods": pd.period_range("1871", periods=30, freq="Y"),
    "quarters": pd.period_range("1959Q1", periods=30, freq="Q"),
    "months": pd.period_range("2006-01", periods=30, freq="M"),
    "every second month": pd.PeriodIndex(pd.period_range("2006-01", periods=60, freq="M")[::2]),
    "two-month periods": pd.period_range("2006-01", periods=30, freq="2M"),
    "rows": pd.RangeIndex(30),
    "rows by two": pd.RangeIndex(10, 70, 2),
    "years as integers": pd.Index(np.arange(1871, 1901)),
    "integers by five": pd.Index(np.arange(-10, 140, 5), dtype="int32"),
    "floats": pd.Index(np.arange(0.0, 3.0, 0.1)),
    "floats far from zero": pd.Index(1e6 + np.arange(30) / 50.0),
    "single precision": pd.Index(np.arange(30) * np.float32(0.1)),
    "durations": pd.timedelta_range("0s", periods=30, freq="250ms"),
}
REGULAR = DATES | OTHERS


def without_freq(index: pd.Index) -> pd.Index:
    """Return the labels as they come from a file: dates with no frequency attached."""
    return index if isinstance(index, pd.PeriodIndex | pd.RangeIndex) else type(index)(list(index), dtype=index.dtype)


@pytest.mark.parametrize("kind", REGULAR)
@pytest.mark.parametrize("attached", [True, False])
def test_regular_labels_pass_and_are_continued(kind: str, attached: bool) -> None:
    index = REGULAR[kind] if attached else without_freq(REGULAR[kind])
    index = index.rename("when")
    check_regular(index)
    following = continued_index(index[:-2], 2)
    assert type(following) is type(index)
    assert following.dtype == index.dtype
    assert following.name == "when"
    if following.dtype.kind == "f":
        assert np.allclose(following, index[-2:], rtol=1e-6, atol=0.0)
    else:
        assert following.tolist() == index[-2:].tolist()


@pytest.mark.parametrize("kind", REGULAR)
def test_a_hole_is_named_and_filling_it_helps(kind: str) -> None:
    index = without_freq(REGULAR[kind])
    holed = index.delete(3)
    with pytest.raises(InputError, match=r"index: expected regular steps, got a gap after .*1 label missing") as caught:
        check_regular(holed)
    message = str(caught.value)
    assert "reset_index(drop=True)" in message
    with pytest.raises(InputError, match=r"forecast\(steps, index=\.\.\.\)"):
        continued_index(holed, 3)
    if holed.dtype.kind == "f":
        return
    # The cure shown is a call on the data: run as the user would, it puts the row back.
    cure = message.partition("put them in with ")[2].partition(", or if every")[0]
    filled = eval(cure, {"data": pd.Series(1.0, index=holed), "pd": pd})
    check_regular(filled.index)
    assert len(filled) == len(index)
    assert filled.isna().sum() == 1


def test_the_message_for_a_missing_week_shows_asfreq() -> None:
    weeks = pd.date_range("1958-03-29", periods=10, freq="W-SAT").delete([4, 5])
    with pytest.raises(InputError) as caught:
        check_regular(weeks, series="buoy")
    assert str(caught.value) == (
        "index of series 'buoy': expected regular steps, got a gap after 1958-04-19 (2 labels missing before "
        '1958-05-10, one step being "W-SAT"); NaN marks missing rows: put them in with data.asfreq("W-SAT"), or if '
        "every row is one step whatever its label, drop the labels with data.reset_index(drop=True)"
    )


@pytest.mark.parametrize(
    ("index", "place"),
    [
        (pd.Index([1, 2, 4]), r"gap after 2 \(1 label missing before 4, one step being 1\)"),
        (pd.Index([1871, 1872, 1873, 1875]), "gap after 1873"),
        (pd.period_range("2000Q1", periods=5, freq="Q").delete(2), "gap after 2000Q2"),
        (pd.date_range("2024-01-01", periods=40, freq="B").delete(7), 'gap after 2024-01-09 .*asfreq\\("B"\\)'),
        (pd.date_range("2024-01-01", periods=5, freq="D").delete(2), 'gap after 2024-01-02 .*asfreq\\("D"\\)'),
    ],
)
def test_gaps_name_the_label_before(index: pd.Index, place: str) -> None:
    with pytest.raises(InputError, match=place):
        check_regular(index)


@pytest.mark.parametrize(
    ("index", "place"),
    [
        (pd.Index([0.0, 1.0, 2.5, 3.5]), "1.5 from 1.0 to 2.5 where 1.0 is usual"),
        (pd.Index([0, 2, 4, 7]), "3 from 4 to 7 where 2 is usual"),
        (pd.DatetimeIndex(["2024-01-01 00:00", "2024-01-01 00:05", "2024-01-01 00:10", "2024-01-01 00:17:11"]), "7:11"),
        (pd.PeriodIndex(["2000", "2002", "2004", "2005"], freq="Y"), "1 from 2004 to 2005 where 2 is usual"),
        (pd.to_timedelta([0, 2, 4, 7], unit="s"), "0 days 00:00:03 from 0 days 00:00:04"),
    ],
)
def test_uneven_labels_are_refused_and_not_continued(index: pd.Index, place: str) -> None:
    with pytest.raises(InputError, match=place):
        check_regular(index)
    with pytest.raises(InputError, match=r"uneven steps .*forecast\(steps, index=\.\.\.\)"):
        continued_index(index, 1)


def test_labels_without_a_spacing_pass_but_are_not_continued() -> None:
    names = as_index(["b", "a", "c"], "data: index")
    check_regular(names)
    with pytest.raises(InputError, match=r"labels such as 'c'; say them with forecast\(steps, index=\.\.\.\)"):
        continued_index(names, 2)


def test_one_label_is_continued_where_its_step_is_known() -> None:
    assert continued_index(pd.PeriodIndex(["2024-05"], freq="M"), 2).astype(str).tolist() == ["2024-06", "2024-07"]
    assert continued_index(pd.RangeIndex(5, 6), 2).tolist() == [6, 7]
    week = pd.date_range("2024-01-06", periods=1, freq="W-SAT")
    assert continued_index(week, 1)[0] == pd.Timestamp("2024-01-13")
    for index in (pd.Index([1990]), pd.DatetimeIndex(["2024-01-06"]), pd.Index([0.5])):
        check_regular(index)
        with pytest.raises(InputError, match="the one label"):
            continued_index(index, 1)


def test_a_frequency_attached_is_kept() -> None:
    assert continued_index(DATES["weekly"], 3).freqstr == "W-SAT"
    assert continued_index(without_freq(DATES["half-hourly"]), 3).freq == pd.Timedelta(minutes=30)
    custom = pd.date_range("2024-01-01", periods=9, freq=pd.offsets.CustomBusinessDay(weekmask="Mon Wed Fri"))
    assert continued_index(custom, 2).day_name().tolist() == ["Monday", "Wednesday"]


def test_days_in_local_time_stay_at_their_hour_when_the_clocks_change() -> None:
    noon = pd.date_range("2024-03-26 12:00", periods=4, freq="D", tz="Europe/Berlin")
    following = continued_index(without_freq(noon), 3)
    assert [label.hour for label in following] == [12, 12, 12]
    assert str(following.tz) == "Europe/Berlin"
    skipped = pd.date_range("2024-03-27 02:30", periods=4, freq="D", tz="Europe/Berlin")
    assert continued_index(without_freq(skipped), 1)[0] == pd.Timestamp("2024-03-31 03:00", tz="Europe/Berlin")


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_the_resolution_of_dates_is_kept(unit: str) -> None:
    index = pd.date_range("2024-01-06", periods=5, freq="W-SAT").as_unit(unit)
    assert continued_index(index, 2).dtype == index.dtype
    local = without_freq(pd.date_range("2024-03-26", periods=5, freq="D", tz="Europe/Berlin").as_unit(unit))
    assert continued_index(local, 2).dtype == local.dtype


@pytest.mark.parametrize("steps", [0, -1, 2.0, "3", True, None])
def test_steps_must_be_a_whole_number_of_at_least_one(steps: object) -> None:
    with pytest.raises(InputError, match=r"steps: expected a whole number of at least 1"):
        continued_index(pd.RangeIndex(3), steps)


@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        (pd.DatetimeIndex(["2024-01-01", "2024-01-01"]), "distinct labels, got 2024-01-01 again at row 1"),
        (pd.Index(["a", "b", "a"]), "distinct labels, got 'a' again at row 2"),
        (pd.DatetimeIndex(["2024-01-02", "2024-01-01"]), "time order, got 2024-01-01 after 2024-01-02 at row 1"),
        (pd.Index([3, 2, 1]), "time order, got 2 after 3 at row 1"),
        (pd.RangeIndex(3, 0, -1), "time order, got 2 after 3"),
        (pd.Index([0.0, 2.0, 1.0]), "time order, got 1.0 after 2.0 at row 2"),
        (pd.PeriodIndex(["2001", "2000"], freq="Y"), "time order, got 2000 after 2001"),
        (pd.DatetimeIndex(["2024-01-02", None]), "a label in every row, got NaT at row 1"),
        (pd.Index([0.0, np.nan]), "a label in every row, got nan at row 1"),
        (pd.Index([0.0, np.inf]), "a label in every row, got inf at row 1"),
        (pd.Index([1, None], dtype="Int64"), "a label in every row, got <NA> at row 1"),
        (pd.MultiIndex.from_tuples([("a", 1), ("a", 2)], names=["id", "t"]), r"got 2 levels \['id', 't'\].*series="),
    ],
)
def test_labels_that_cannot_name_rows_are_refused(labels: pd.Index, problem: str) -> None:
    with pytest.raises(InputError, match=f"data: index: expected {problem}|data: index: expected .*{problem}"):
        as_index(labels, "data: index")


def test_nullable_labels_become_plain_ones() -> None:
    assert as_index(pd.Index([1, 2], dtype="Int64"), "index").dtype == np.int64
    assert as_index(pd.Index([1.5, 2.0], dtype="Float64"), "index").dtype == np.float64


def test_same_labels_names_the_first_difference() -> None:
    dates = pd.date_range("2024-01-01", periods=3)
    same_labels(dates, dates.as_unit("s"), "inputs")
    same_labels(pd.Index([0.1 + 0.2]), pd.Index([0.3]), "inputs")
    with pytest.raises(InputError, match=r"inputs: .*got 2024-02-02 where 2024-01-02 was expected \(row 1\)"):
        same_labels(pd.DatetimeIndex(["2024-01-01", "2024-02-02", "2024-01-03"]), dates, "inputs")
    with pytest.raises(InputError, match="inputs: expected 3 rows, got 2"):
        same_labels(dates[:2], dates, "inputs")
    with pytest.raises(InputError, match="got 0 where 2024-01-01 was expected"):
        same_labels(pd.RangeIndex(3), dates, "inputs")
    with pytest.raises(InputError, match="got 2024-01-01 where 2024-01 was expected"):
        same_labels(dates[:1], pd.PeriodIndex(["2024-01"], freq="M"), "inputs")
    with pytest.raises(InputError, match="got 2024-01-01 where 2024-01-01 00:00:00"):
        same_labels(dates, dates.tz_localize("UTC"), "inputs")
