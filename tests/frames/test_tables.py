"""Tables handed back: names, labels, levels and the widths of intervals."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from kalman_em.errors import InputError
from kalman_em.frames import (
    checked_levels,
    frame_of,
    interval_columns,
    intervals,
    level_text,
    moments_frame,
    standard_deviations,
)

WEEKS = pd.date_range("2024-01-06", periods=2, freq="W-SAT", name="week")


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ((80, 95), (80.0, 95.0)),
        ([95, 80], (95.0, 80.0)),
        (95, (95.0,)),
        (np.float64(99.5), (99.5,)),
        (np.array([50, 90]), (50.0, 90.0)),
        (range(10, 30, 10), (10.0, 20.0)),
        ((), ()),
        (np.array(95), (95.0,)),
        (pd.Series([80, 95]), (80.0, 95.0)),
        (1, (1.0,)),
    ],
)
def test_levels_are_read(levels: object, expected: tuple[float, ...]) -> None:
    assert checked_levels(levels) == expected


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        ((0,), "above 0 and below 100, got 0"),
        ((100,), "above 0 and below 100, got 100"),
        ((-5,), "got -5"),
        ((80, 120), "got 120"),
        ((float("nan"),), "got nan"),
        (("95",), "got '95'"),
        ("95", "got '95'"),
        ((True,), "got True"),
        (None, "got None"),
        ((0.95,), "expected per cent, got 0.95; write 95"),
        ((80, 80.0), r"distinct levels, got \[80, 80.0\]"),
        (1j, "expected per cent above 0 and below 100, got 1j"),
        ([[95]], r"expected per cent above 0 and below 100, got \[95\]"),
    ],
)
def test_levels_that_make_no_interval(levels: object, message: str) -> None:
    with pytest.raises(InputError, match=f"levels: expected.*{message}|levels: {message}"):
        checked_levels(levels)


@pytest.mark.parametrize(("level", "text"), [(80, "80"), (99.5, "99.5"), (99.99999, "99.99999"), (np.float64(5), "5")])
def test_levels_are_written_as_a_user_would(level: float, text: str) -> None:
    assert level_text(level) == text
    assert interval_columns(level) == (f"lower_{text}", f"upper_{text}")


@pytest.mark.parametrize("level", [1, 50, 80, 95, 99.9])
def test_an_interval_holds_its_share_of_a_gaussian(level: float) -> None:
    bounds = intervals(np.array([3.0]), np.array([2.0]), level)
    lower, upper = (bounds[name][0] for name in interval_columns(level))
    assert np.isclose(norm.cdf(upper, 3.0, 2.0) - norm.cdf(lower, 3.0, 2.0), level / 100, rtol=1e-12)
    assert np.isclose(upper - 3.0, 3.0 - lower)


def test_standard_deviations_forgive_rounding_below_zero_and_keep_nan() -> None:
    covs = np.array([[[4.0, 1.0], [1.0, -1e-18]], [[np.nan, 0.0], [0.0, 9.0]]])
    assert np.array_equal(standard_deviations(covs), [[2.0, 0.0], [np.nan, 3.0]], equal_nan=True)


def test_a_frame_has_labels_and_its_own_numbers() -> None:
    array = np.array([[1.0, 2.0], [3.0, 4.0]])
    array.setflags(write=False)
    frame = frame_of(array, WEEKS, ["a", "b"])
    assert frame.index.identical(WEEKS)
    frame.iloc[0, 0] = 9.0
    assert array[0, 0] == 1.0
    assert frame.columns.tolist() == ["a", "b"]
    with pytest.raises(InputError, match="names: expected distinct columns in the table, got 'a' twice"):
        frame_of(array, WEEKS, ["a", "a"])


def test_moments_become_columns_name_by_name() -> None:
    means = np.array([[1.0, 2.0], [3.0, 4.0]])
    covs = np.array([[[4.0, 0.5], [0.5, 9.0]], [[1.0, 0.0], [0.0, 16.0]]])
    frame = moments_frame(means, covs, ["level", "slope"], WEEKS, levels=(95,))
    assert frame.columns.tolist() == [
        *("level", "level_sd", "level_lower_95", "level_upper_95"),
        *("slope", "slope_sd", "slope_lower_95", "slope_upper_95"),
    ]
    assert frame["slope_sd"].tolist() == [3.0, 4.0]
    assert np.allclose(frame["slope_upper_95"], means[:, 1] + norm.ppf(0.975) * np.array([3.0, 4.0]))
    assert frame.index.identical(WEEKS)
    assert moments_frame(means, np.sqrt(covs.diagonal(axis1=1, axis2=2)), ["level", "slope"], WEEKS).equals(
        frame[["level", "level_sd", "slope", "slope_sd"]]
    )
    suffixed = moments_frame(means, covs, ["a", "b"], WEEKS, mean_suffix="_mean")
    assert suffixed.columns.tolist() == ["a_mean", "a_sd", "b_mean", "b_sd"]


def test_moments_that_do_not_fit_their_names() -> None:
    means, sds = np.zeros((2, 2)), np.ones((2, 2))
    with pytest.raises(InputError, match=r"means: expected shape \(2, 1\), got \(2, 2\)"):
        moments_frame(means, sds, ["a"], WEEKS)
    with pytest.raises(InputError, match=r"spread: expected shape \(2, 2\), got \(2, 1\)"):
        moments_frame(means, sds[:, :1], ["a", "b"], WEEKS)
    with pytest.raises(InputError, match="got 'a_sd' twice"):
        moments_frame(means, sds, ["a", "a_sd"], WEEKS)
