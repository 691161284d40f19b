"""New labels come right after the old: overlap, gap and labels of another kind are named with what was expected."""

from __future__ import annotations

import pandas as pd
import pytest

from kalman_em.errors import InputError
from kalman_em.frames import following

YEARS = pd.period_range("1950", "1954", freq="Y")
DAYS = pd.date_range("2024-01-01", periods=5, freq="D")


@pytest.mark.parametrize(
    "labels",
    [
        pd.RangeIndex(10),
        pd.Index([3, 5, 7, 9]),
        pd.Index([0.0, 0.1, 0.2, 0.30000000000000004, 0.4]),
        YEARS,
        DAYS,
        DAYS.tz_localize("Europe/Berlin"),
        pd.date_range("2024-01-31", periods=6, freq=pd.offsets.MonthEnd()),
        pd.timedelta_range("0h", periods=5, freq="h"),
        pd.Index(["a", "b", "c", "d"]),
    ],
)
def test_the_rest_of_an_index_follows_its_beginning(labels: pd.Index) -> None:
    assert following(labels[:3], labels[3:], "data").tolist() == labels.tolist()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (YEARS, YEARS[3:], "expected 1955 next, after 1954, got 1953; 2 of 2 labels overlap what is there"),
        (YEARS, YEARS[4:].append(YEARS[-1:] + 1), "expected 1955 next, after 1954, got 1954; 1 of 2 labels overlap"),
        (YEARS, YEARS + 7, "expected 1955 next, after 1954, got 1957; rows missing between must be there"),
        (YEARS, YEARS.asfreq("M"), "continue periods of frequency Y-DEC up to 1954, got periods of frequency M"),
        (
            YEARS,
            pd.Index([1955]),
            "periods of frequency Y-DEC up to 1954, got numbers, the first of them 1955",
        ),
        (DAYS, DAYS + pd.Timedelta(days=9), "expected 2024-01-06 next, after 2024-01-05, got 2024-01-10"),
        (DAYS, (DAYS[-1:] + pd.Timedelta(days=1)).tz_localize("UTC"), "without a time zone .*, got .* time zone UTC"),
        (DAYS.tz_localize("UTC"), DAYS.tz_localize("Asia/Tokyo"), "time zone UTC .*, got dates in the time zone Asia"),
        (pd.RangeIndex(5), pd.RangeIndex(2), "expected 5 next, after 4, got 0; 2 of 2 labels overlap"),
        (pd.Index([0.0, 0.5, 1.0]), pd.Index([2.0]), "expected 1.5 next, after 1.0, got 2.0"),
        (pd.Index(["a", "b"]), pd.Index(["c", "a"]), "expected labels, after 'b', got 'a'; 1 of 2 labels overlap"),
        (pd.Index(["a", "b"]), pd.Index([1]), "continue text labels up to 'b', got numbers"),
        (YEARS, pd.PeriodIndex(["1955", "1958"], freq="Y"), "expected regular steps, got a gap after 1955"),
    ],
)
def test_labels_that_do_not_follow_on(old: pd.Index, new: pd.Index, message: str) -> None:
    with pytest.raises(InputError, match=message):
        following(old, new, "data")


def test_labels_of_a_forecast_are_told_what_a_forecast_is() -> None:
    with pytest.raises(InputError, match=r"^index: expected 1955 next, after 1954, got 1957; .* ask for as many steps"):
        following(YEARS, YEARS + 7, "index", is_forecast=True)
