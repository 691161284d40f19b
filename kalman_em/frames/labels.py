"""Row labels: checked when read, checked for skipped steps, and continued past the end."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
from pandas.tseries.frequencies import to_offset

from kalman_em.arrays import as_count
from kalman_em.errors import InputError
from kalman_em.frames.spacing import Grid, grid_of, has_spacing, step_text

EACH_ROW_A_STEP = "if every row is one step whatever its label, drop the labels with data.reset_index(drop=True)"


def as_index(
    labels: Any, where: str, *, sorting: str = "data.sort_index()", is_of_series: bool = False
) -> pd.Index[Any]:
    """Return `labels` as a pandas index that can name rows: one level, nothing missing, distinct, in order.

    Labels that are not dates, periods, durations or numbers need not be in order, only distinct.

    Parameters
    ----------
    labels : pandas Index, Series or sequence
        One label a row.
    where : str
        What the message calls them, such as ``"data: index"``.
    sorting : str
        What puts the rows in order, for the message.
    is_of_series : bool
        Whether they are those of one series of several, told apart already.

    Raises
    ------
    InputError
        If they are no sequence or no labels, there are several levels, or a label is missing, repeated or before the
        one above it.
    """
    index = _read(labels, where)
    if isinstance(index, pd.MultiIndex):
        raise InputError(
            f"{where}: expected one label a row, got {index.nlevels} levels {list(index.names)}; "
            "use reset_index() and name the columns with time= and series="
        )
    if isinstance(index.dtype, pd.api.extensions.ExtensionDtype) and pd.api.types.is_numeric_dtype(index.dtype):
        index = _plain_numbers(index, where)
    missing = np.asarray(index.isna())
    if isinstance(index.dtype, np.dtype) and index.dtype.kind == "f":
        missing = ~np.isfinite(index.to_numpy())
    if missing.any():
        raise InputError(f"{where}: expected a label in every row, got {index[missing][0]} at row {_first(missing)}")
    repeated = np.asarray(index.duplicated())
    if repeated.any():
        advice = (
            "keep one of them, or take their mean"
            if is_of_series
            else "a long frame of several series needs series= (the column that tells them apart)"
        )
        raise InputError(
            f"{where}: expected distinct labels, got {shown(index[repeated][0])} again at row {_first(repeated)}"
            f"{' of the series' if is_of_series else ''}; {advice}"
        )
    if has_spacing(index) and not index.is_monotonic_increasing:
        row = _first(np.asarray(index[1:] < index[:-1])) + 1
        raise InputError(
            f"{where}: expected labels in time order, got {shown(index[row])} after {shown(index[row - 1])} "
            f"at row {row}{' of the series' if is_of_series else ''}; sort the rows first, as with {sorting}"
        )
    return index


def check_regular(index: pd.Index[Any], *, series: Any = None) -> None:
    """Raise `InputError` unless every label is one regular step after the one before it.

    A model in discrete time moves its state once a row, so a skipped week would silently count as no time at
    all. Months, quarters, years and business days count as regular steps. Labels without a spacing (such as
    text) pass: they say nothing about time.

    Parameters
    ----------
    index : pandas Index
        Labels as `as_index` returns them.
    series : hashable, optional
        The name of the series, for the message.

    Raises
    ------
    InputError
        If a step is skipped or the steps are uneven; names the first place, and shows how to put a row of NaN
        (the marker for missing) at each skipped step.

    Examples
    --------
    >>> import pandas as pd
    >>> from kalman_em.frames import check_regular
    >>> check_regular(pd.date_range("2024-01-31", periods=12, freq=pd.offsets.MonthEnd()))
    >>> check_regular(pd.Index([2001, 2002, 2005]))
    Traceback (most recent call last):
    ...
    kalman_em.errors.InputError: index: expected regular steps, got a gap after 2002 (2 labels missing ...
    """
    if len(index) < 3 or not has_spacing(index):
        return
    of_series = "" if series is None else f" of series {series!r}"
    grid = grid_of(index)
    if grid is None:
        raise InputError(f"index{of_series}: expected regular steps, got {_uneven(index)}; {_how_to_even_out(index)}")
    if grid.n_skipped == 0:
        return
    row = _first(grid.jumps > 1)
    n_missing = int(grid.jumps[row]) - 1
    raise InputError(
        f"index{of_series}: expected regular steps, got a gap after {shown(index[row])} ({n_missing} "
        f"label{'s' if n_missing > 1 else ''} missing before {shown(index[row + 1])}, one step being "
        f"{step_text(grid.step)}); NaN marks missing rows: put them in with {_how_to_fill(index, grid)}, or "
        f"{EACH_ROW_A_STEP}"
    )


def continued_index(index: pd.Index[Any], steps: int) -> pd.Index[Any]:
    """Return the labels of the `steps` rows after the end of `index`, of the same kind, name and time zone.

    Raises
    ------
    InputError
        If `steps` is below 1, or the labels do not say what comes next: uneven, with steps skipped, text, or
        a single one.

    Examples
    --------
    >>> import pandas as pd
    >>> from kalman_em.frames import continued_index
    >>> continued_index(pd.period_range("2023Q3", "2024Q1", freq="Q"), 2).astype(str).tolist()
    ['2024Q2', '2024Q3']
    >>> continued_index(pd.RangeIndex(0, 10, 2), 2).tolist()
    [10, 12]
    """
    ahead = np.arange(1, as_count(steps, "steps") + 1)
    if isinstance(index, pd.RangeIndex) and len(index) > 0:
        last = int(index[-1])
        return pd.RangeIndex(last + index.step, last + index.step * (len(ahead) + 1), index.step, name=index.name)
    grid = _grid_to_continue(index)
    if isinstance(index, pd.DatetimeIndex):
        return _continued_dates(index, grid, len(ahead))
    if isinstance(index, pd.PeriodIndex):
        periods = [index[-1] + int(grid.step * k) for k in ahead]
        return pd.PeriodIndex(periods, dtype=index.dtype, name=index.name)
    if isinstance(index, pd.TimedeltaIndex):
        durations = pd.TimedeltaIndex([index[-1] + grid.step * int(k) for k in ahead])
        return durations.as_unit(index.unit).rename(index.name)
    labels: pd.Index[Any] = pd.Index(index[-1] + grid.step * ahead, dtype=index.dtype, name=index.name)
    return labels


def same_labels(came: pd.Index[Any], expected: pd.Index[Any], where: str) -> None:
    """Raise `InputError` naming the first label of `came` that differs from `expected`; floats may round."""
    for row in range(min(len(came), len(expected))) if not came.equals(expected) else ():
        if not _equal(came[row], expected[row]):
            raise InputError(
                f"{where}: expected the same labels, got {shown(came[row])} where {shown(expected[row])} was "
                f"expected (row {row}); pass an array if the rows are in place whatever their labels"
            )
    if len(came) != len(expected):
        raise InputError(f"{where}: expected {len(expected)} rows, got {len(came)}")


def shown(label: Any) -> str:
    """Return a label as text for a message; midnight is left off dates."""
    if isinstance(label, pd.Timestamp) and label == label.normalize() and label.tz is None:
        return label.strftime("%Y-%m-%d")
    return repr(label) if isinstance(label, str) else str(label)


def _read(labels: Any, where: str) -> pd.Index[Any]:
    if isinstance(labels, pd.Index):
        index: pd.Index[Any] = labels
    else:
        if isinstance(labels, str | bytes) or not (hasattr(labels, "__len__") or isinstance(labels, Iterable)):
            raise InputError(f"{where}: expected a sequence of labels, got {labels!r} ({type(labels).__name__})")
        try:
            index = pd.Index(labels)
        except (TypeError, ValueError) as error:
            raise InputError(f"{where}: expected labels, got {type(labels).__name__} ({error})") from error
    if index.dtype == object and not isinstance(index, pd.MultiIndex):
        odd = next((label for label in index if isinstance(label, date) and not pd.isna(label)), None)
        if odd is not None:
            raise InputError(
                f"{where}: expected dates that pandas reads as dates, all with one time zone or all without, got "
                f"{odd!r} among objects; turn them into dates with pd.to_datetime"
            )
    if index.dtype.kind == "c" or index.dtype == bool:
        raise InputError(f"{where}: expected dates, periods, durations, numbers or text, got {index.dtype} labels")
    return index


def _plain_numbers(index: pd.Index[Any], where: str) -> pd.Index[Any]:
    if index.isna().any():
        raise InputError(f"{where}: expected a label in every row, got <NA> at row {_first(np.asarray(index.isna()))}")
    labels: pd.Index[Any] = pd.Index(
        index.to_numpy(dtype=np.float64 if pd.api.types.is_float_dtype(index.dtype) else np.int64), name=index.name
    )
    return labels


def _first(mask: Any) -> int:
    return int(np.argmax(mask))


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return bool(np.isclose(one, other, rtol=1e-9, atol=0.0))
    try:
        return bool(one == other)
    except (TypeError, ValueError):
        return False


def _grid_to_continue(index: pd.Index[Any]) -> Grid:
    grid = None
    if len(index) == 1 and isinstance(index, pd.PeriodIndex):
        grid = Grid(1, np.ones(0, dtype=np.int64))
    elif len(index) == 1 and isinstance(index, pd.DatetimeIndex) and index.freq is not None:
        grid = Grid(index.freq, np.ones(0, dtype=np.int64))
    elif has_spacing(index):
        grid = grid_of(index)
    if grid is None or grid.n_skipped > 0:
        raise InputError(
            f"index: the labels of the forecast cannot be told from {_summary(index)}; say them with "
            "forecast(steps, index=...)"
        )
    return grid


def _summary(index: pd.Index[Any]) -> str:
    if not has_spacing(index):
        return f"labels such as {shown(index[-1])}" if len(index) else "no label"
    if len(index) == 1:
        return f"the one label {shown(index[0])}"
    return f"uneven steps ({_uneven(index) if grid_of(index) is None else 'some are skipped'})"


def _continued_dates(index: pd.DatetimeIndex, grid: Grid, steps: int) -> pd.DatetimeIndex:
    if not grid.on_wall_clock or index.tz is None:
        following = pd.date_range(index[-1], periods=steps + 1, freq=grid.step, name=index.name)[1:]
        return following.as_unit(index.unit)
    wall = pd.date_range(index[-1].tz_localize(None), periods=steps + 1, freq=grid.step, name=index.name)[1:]
    # A time that the clocks skip moves to the next that exists; of a time that comes twice, the later is taken.
    local = wall.tz_localize(index.tz, nonexistent="shift_forward", ambiguous=np.zeros(steps, dtype=bool))
    return local.as_unit(index.unit)


def _uneven(index: pd.Index[Any]) -> str:
    """Say where the steps are uneven: the most common step, and the first that is no multiple of it."""
    labels: Any = index.astype("int64") if isinstance(index, pd.PeriodIndex) else index
    labels = labels.tz_convert(None) if isinstance(index, pd.DatetimeIndex) and index.tz is not None else labels
    steps = pd.Series(labels[1:]) - pd.Series(labels[:-1])
    usual = steps.mode()[0]
    row = _first(np.asarray(steps != usual))
    return f"{steps[row]} from {shown(index[row])} to {shown(index[row + 1])} where {usual} is usual"


def _how_to_even_out(index: pd.Index[Any]) -> str:
    dated = isinstance(index, pd.DatetimeIndex | pd.TimedeltaIndex)
    cure = "bring the rows onto a regular grid, as with data.resample(...).mean()" if dated else "even them out"
    return f"{cure} (NaN marks missing rows), or {EACH_ROW_A_STEP}"


def _how_to_fill(index: pd.Index[Any], grid: Grid) -> str:
    if isinstance(index, pd.DatetimeIndex):
        return f"data.asfreq({step_text(grid.step)})"
    if isinstance(index, pd.PeriodIndex):
        every = "" if grid.step == 1 else f"[::{grid.step}]"
        return f'data.reindex(pd.period_range(data.index[0], data.index[-1], freq="{index.freqstr}"){every})'
    if isinstance(index, pd.TimedeltaIndex):
        freq = step_text(to_offset(grid.step))
        return f"data.reindex(pd.timedelta_range(data.index[0], data.index[-1], freq={freq}))"
    if index.dtype.kind in "iu":
        return f"data.reindex(range({index[0]}, {int(index[-1]) + 1}, {grid.step}))"
    return "a row of NaN for each"
