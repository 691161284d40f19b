"""Labels as times, and their continuation."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from kalman_em.errors import InputError
from kalman_em.frames import ahead_of, among, continued_times, timed, to_panel


def test_uneven_dates_go_on_by_whole_ticks_of_their_clock():
    stamps = pd.Timestamp("2024-01-01") + pd.to_timedelta(np.cumsum([20, 23, 25] * 20), unit="min")
    one = timed(to_panel(pd.Series(np.arange(60.0), index=stamps)), "h").series[0]
    labels, times = continued_times(one, 2, "h")
    assert list(labels) == [pd.Timestamp("2024-01-01 23:03"), pd.Timestamp("2024-01-01 23:26")]
    np.testing.assert_allclose(times - one.times[-1], [23 / 60, 46 / 60], rtol=1e-12)


def test_text_is_read_as_dates_where_the_series_has_dates():
    days = pd.date_range("2024-01-01", periods=4)
    one = timed(to_panel(pd.Series(np.arange(4.0), index=days)), "D").series[0]
    assert among(one, ["2024-01-03", "2024-01-03 12:00"], "D")[1].tolist() == [2.0, 2.5]
    assert ahead_of(one, ["2024-01-06"], "D")[1].tolist() == [5.0]
    with pytest.raises(InputError, match="times: expected dates, as the series has, got 'soon'"):
        among(one, ["soon"], "D")
