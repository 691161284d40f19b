"""The spacing of labels: which regular grid they lie on, and how many of its steps each row moves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.tseries.frequencies import to_offset

from kalman_em.arrays import IntArray

# Float labels are evenly spaced when their steps agree to this share of a step (plus the rounding of the labels
# themselves): what arithmetic leaves, not what a clock does.
FLOAT_ROUNDING = 1e-6


@dataclass(frozen=True, eq=False)
class Grid:
    """A regular grid through some labels.

    Attributes
    ----------
    step : pandas offset, Timedelta, int or float
        What one step is.
    jumps : ndarray, shape (T-1,)
        Whole steps from each label to the next; 1 where no step is skipped.
    on_wall_clock : bool
        Whether dates with a time zone step by the local calendar (days, months), not by elapsed time.
    """

    step: Any
    jumps: IntArray
    on_wall_clock: bool = False

    @property
    def n_skipped(self) -> int:
        """Number of grid points between the first label and the last that carry no row."""
        return int((self.jumps - 1).sum())


def has_spacing(index: pd.Index[Any]) -> bool:
    """Return whether the labels can be subtracted: dates, periods, durations or numbers."""
    dated = isinstance(index, pd.DatetimeIndex | pd.PeriodIndex | pd.TimedeltaIndex)
    return dated or (index.dtype.kind in "iuf" if isinstance(index.dtype, np.dtype) else False)


def grid_of(index: pd.Index[Any]) -> Grid | None:
    """Return the grid with the fewest skipped steps through sorted, distinct labels; None if there is none.

    The step is the most common one (the shortest of those equally common); all others are multiples of it.
    Dates are tried on the calendar first (months, quarters and years; days and weeks; business days), then by
    elapsed time. At least two labels are needed.
    """
    if len(index) < 2:
        return None
    if isinstance(index, pd.DatetimeIndex):
        return _date_grid(index)
    if isinstance(index, pd.PeriodIndex):
        found = _whole_steps(np.diff(_integers(index)) // _multiple(index))
        return None if found is None else Grid(*found)
    if isinstance(index, pd.TimedeltaIndex):
        found = _whole_steps(np.diff(_integers(index)))
        return None if found is None else Grid(pd.Timedelta(np.timedelta64(found[0], index.unit)), found[1])
    if index.dtype.kind in "iu":
        found = _whole_steps(np.diff(_integers(index)))
        return None if found is None else Grid(*found)
    return _float_grid(index.to_numpy())


def step_text(step: Any) -> str:
    """Return a step as a user would write it in pandas: ``"W-SAT"``, ``pd.DateOffset(months=1)``, ``2``."""
    if type(step) is pd.DateOffset:
        return "pd." + step.freqstr.strip("<>").replace(": ", "(", 1) + ")"
    if isinstance(step, pd.offsets.BaseOffset):
        return f'"{step.freqstr}"'
    if isinstance(step, pd.Timedelta):
        return str(step)
    return f"{step:g}" if isinstance(step, float) else str(step)


def _integers(index: pd.Index[Any]) -> IntArray:
    return np.asarray(index.astype("int64"), dtype=np.int64)


def _multiple(index: pd.PeriodIndex) -> int:
    return 1 if index.freq is None else int(index.freq.n)  # "2M": labels two months apart are one step apart


def _whole_steps(sizes: IntArray) -> tuple[int, IntArray] | None:
    """Return the most common step and how many of it each size is; None unless all are whole multiples."""
    steps, counts = np.unique(sizes, return_counts=True)
    base = int(steps[np.argmax(counts)])
    if base <= 0 or np.any(sizes % base != 0):
        return None
    return base, sizes // base


def _float_grid(labels: NDArray[np.floating[Any]]) -> Grid | None:
    rounding = 8.0 * float(np.spacing(np.abs(labels).max()))  # of the labels' own precision
    sizes = np.diff(labels.astype(np.float64))
    # The most common step, rounding apart: the one with most others within the tolerance of it.
    ordered = np.sort(sizes)
    tolerance = FLOAT_ROUNDING * ordered + rounding
    near = np.searchsorted(ordered, ordered + tolerance, "right") - np.searchsorted(ordered, ordered - tolerance)
    group = np.abs(sizes - ordered[np.argmax(near)]) <= tolerance[np.argmax(near)]
    step = float(sizes[group].mean())
    jumps = np.rint(sizes / step)
    if np.any(jumps < 1) or np.any(np.abs(sizes - jumps * step) > FLOAT_ROUNDING * step + rounding * (1 + jumps)):
        return None
    return Grid(step, jumps.astype(np.int64))


def _date_grid(index: pd.DatetimeIndex) -> Grid | None:
    if index.freq is not None:
        return Grid(index.freq, np.ones(len(index) - 1, dtype=np.int64), on_wall_clock=_is_calendar(index.freq))
    # min keeps the first of equals: the calendar before elapsed time.
    return min(_date_grids(index), key=lambda grid: grid.n_skipped, default=None)


def _is_calendar(offset: Any) -> bool:
    return isinstance(offset, pd.offsets.Day) or not isinstance(offset, pd.offsets.Tick)


def _date_grids(index: pd.DatetimeIndex) -> Iterator[Grid]:
    wall = index.tz_localize(None)
    midnights = wall.normalize()
    same_time_of_day = bool(((wall - midnights) == (wall[0] - midnights[0])).all())
    days = midnights.to_numpy().astype("datetime64[D]")
    if same_time_of_day:
        yield from _month_grids(wall)
        found = _whole_steps(np.diff(days.astype(np.int64)).astype(np.int64))
        if found is not None:
            n_days, jumps = found
            weekly = n_days % 7 == 0
            step = pd.offsets.Week(n_days // 7, weekday=wall[0].weekday()) if weekly else pd.offsets.Day(n_days)
            yield Grid(step, jumps, on_wall_clock=True)
        if np.is_busday(days).all():
            yield Grid(
                pd.offsets.BusinessDay(),
                np.asarray(np.busday_count(days[:-1], days[1:]), dtype=np.int64),
                on_wall_clock=True,
            )
    elapsed = index.tz_convert(None) if index.tz is not None else index
    found = _whole_steps(np.diff(_integers(elapsed)))
    if found is not None:
        yield Grid(_elapsed_step(pd.Timedelta(np.timedelta64(found[0], index.unit))), found[1])


def _elapsed_step(duration: pd.Timedelta) -> Any:
    # Whole days of elapsed time (not of the calendar) are hours.
    hours, rest = divmod(duration, pd.Timedelta(hours=1))
    return pd.offsets.Hour(int(hours)) if hours and not rest else to_offset(duration)


def _month_grids(wall: pd.DatetimeIndex) -> Iterator[Grid]:
    """Yield the grids of whole months on which all dates hold the same place of their month."""
    months = 12 * wall.year.to_numpy(dtype=np.int64) + wall.month.to_numpy(dtype=np.int64)
    found = _whole_steps(np.diff(months))
    if found is None:
        return
    n_months, jumps = found
    if np.any(jumps < 1):
        return
    days, month = wall.day.to_numpy(), int(wall[0].month)
    step: Any = None
    if (days == 1).all():
        step = _first_of_months(n_months, month)
    elif wall.is_month_end.all():
        step = _end_of_months(n_months, month)
    elif (days == days[0]).all():
        step = pd.DateOffset(months=n_months)
    elif all(pd.offsets.BMonthBegin().is_on_offset(date) for date in wall):
        step = pd.offsets.BMonthBegin(n_months)
    elif all(pd.offsets.BMonthEnd().is_on_offset(date) for date in wall):
        step = pd.offsets.BMonthEnd(n_months)
    if step is not None:
        yield Grid(step, jumps, on_wall_clock=True)


def _first_of_months(n_months: int, month: int) -> pd.offsets.BaseOffset:
    if n_months % 12 == 0:
        return pd.offsets.YearBegin(n_months // 12, month=month)
    if n_months % 3 == 0:
        return pd.offsets.QuarterBegin(n_months // 3, startingMonth=(month - 1) % 3 + 1)
    return pd.offsets.MonthBegin(n_months)


def _end_of_months(n_months: int, month: int) -> pd.offsets.BaseOffset:
    if n_months % 12 == 0:
        return pd.offsets.YearEnd(n_months // 12, month=month)
    if n_months % 3 == 0:
        return pd.offsets.QuarterEnd(n_months // 3, startingMonth=(month - 1) % 3 + 10)
    return pd.offsets.MonthEnd(n_months)
