"""Labels as times: what a model in continuous time reads off the index, in a unit of its own."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from kalman_em.arrays import Array
from kalman_em.errors import InputError
from kalman_em.frames.labels import as_index, continued_index, shown
from kalman_em.frames.spacing import has_spacing
from kalman_em.gaps import nearest
from kalman_em.observations import Observations, Panel


def timed(panel: Panel, unit: str) -> Panel:
    """Return `panel` with the time of every row, read off its label unless the series has `times` of its own.

    Parameters
    ----------
    panel : Panel
        Series with pandas indexes, as `to_panel` returns them.
    unit : str
        The unit for dates and durations, as pandas writes it: ``"s"``, ``"min"``, ``"h"``, ``"D"``. Numbers are times
        as they stand. Dates count from the first of their series; a period from its start.

    Raises
    ------
    InputError
        If labels are neither dates, periods, durations nor numbers.

    Examples
    --------
    >>> import pandas as pd
    >>> from kalman_em.frames import to_panel
    >>> log = pd.Series([1.0, 2.0], index=pd.to_datetime(["2024-03-01 10:00:00.0", "2024-03-01 10:00:01.5"]))
    >>> timed(to_panel(log), "s").series[0].times.tolist()
    [0.0, 1.5]
    """
    keys = panel.keys or ()
    return Panel(
        tuple(
            one
            if one.times is not None
            else replace(one, times=times_of(one.index, one.index, unit, key if panel.n_series > 1 else None))
            for key, one in zip(keys, panel, strict=True)
        ),
        keys,
    )


def times_of(labels: pd.Index[Any], origin: pd.Index[Any], unit: str, series: Hashable | None = None) -> Array:
    """Return `labels` as times, dates counted from the first label of `origin`."""
    if not has_spacing(labels):
        where = "" if series is None else f" of series {series!r}"
        raise InputError(
            f"index{where}: expected times (dates, durations or numbers), because the model is in continuous time, got "
            f"labels such as {shown(labels[0])}; name the column of times with time="
        )
    if isinstance(labels, pd.PeriodIndex):
        labels, origin = labels.to_timestamp(), _stamps(origin)
    if isinstance(labels, pd.DatetimeIndex | pd.TimedeltaIndex):
        elapsed = (labels - origin[0]) / pd.Timedelta(f"1{unit}")
        return np.asarray(elapsed, dtype=np.float64)
    return labels.to_numpy(dtype=np.float64)


def ahead_of(one: Observations, labels: Any, unit: str) -> tuple[pd.Index[Any], Array]:
    """Return labels for rows after the end of a series, checked, and their times.

    Raises
    ------
    InputError
        If they are not in order, of another kind than those of the series, or not after its last.
    """
    index = _as_labels_of(one, labels)
    times = _times_like(one, index, unit)
    last = _own_times(one)[-1]
    if times[0] <= last:
        raise InputError(f"times: expected labels after {shown(one.index[-1])}, got {shown(index[0])}")
    return index.rename(one.index.name), times


def among(one: Observations, labels: Any, unit: str) -> tuple[pd.Index[Any], Array]:
    """Return labels for any places of a series, between its rows or beyond them, checked, and their times."""
    index = _as_labels_of(one, labels)
    return index.rename(one.index.name), _times_like(one, index, unit)


def with_rows_at(one: Observations, times: Array) -> tuple[Observations, np.ndarray[Any, np.dtype[np.int64]]]:
    """Return the series with a missing row at each of `times` that has none, and where those times are in it."""
    own = _own_times(one)
    resolution = 4.0 * float(np.spacing(max(np.abs(own).max(), np.abs(times).max())))
    is_there = np.abs(own[nearest(own, times)] - times) <= resolution
    whole = np.concatenate([own, times[~is_there]])
    order = np.argsort(whole, kind="stable")
    values = np.vstack([one.values, np.full((int(np.count_nonzero(~is_there)), one.obs_dim), np.nan)])
    merged = whole[order]
    return Observations(values[order], times=merged, names=one.names), nearest(merged, times)


def continued_times(one: Observations, steps: int, unit: str) -> tuple[pd.Index[Any], Array]:
    """Return the labels of `steps` rows ahead, and their times: a clock goes on; else steps of the median gap."""
    try:
        index = continued_index(one.index, steps)
        return index, _times_like(one, index, unit)
    except InputError:
        pass
    own = _own_times(one)
    if len(own) < 2:
        raise InputError("times: expected the times to forecast, because the series has one row, got None")
    if isinstance(one.index, pd.DatetimeIndex | pd.TimedeltaIndex):
        # The gap in ticks of the index: in hours, say, 23 minutes are no round number.
        gap_in_ticks = pd.Series(one.index).diff().median()
        labels = pd.Index([one.index[-1] + gap_in_ticks * k for k in range(1, steps + 1)], name=one.index.name)
        return labels, times_of(labels, one.index, unit)
    gap = float(np.median(np.diff(own)))
    ahead = own[-1] + gap * np.arange(1, steps + 1)
    return pd.Index(ahead, name=one.index.name), ahead


def _as_labels_of(one: Observations, labels: Any) -> pd.Index[Any]:
    """Return labels for the rows of a series; text is read as dates where the series has dates."""
    index = as_index(labels, "times")
    if isinstance(one.index, pd.DatetimeIndex) and all(isinstance(label, str) for label in index):
        try:
            return as_index(pd.DatetimeIndex(index), "times")
        except ValueError as error:
            raise InputError(f"times: expected dates, as the series has, got {shown(index[0])}") from error
    return index


def _times_like(one: Observations, index: pd.Index[Any], unit: str) -> Array:
    if type(index) is not type(one.index) and not (
        has_spacing(index) and _is_numeric(index) and _is_numeric(one.index)
    ):
        raise InputError(
            f"times: expected labels like {shown(one.index[-1])}, the last of the series, got {shown(index[0])}"
        )
    if isinstance(index, pd.DatetimeIndex) and (index.tz is None) != (one.index.tz is None):
        raise InputError(
            f"times: expected dates {'with' if one.index.tz else 'without'} a time zone, as the series has"
        )
    return times_of(index, one.index, unit)


def _is_numeric(index: pd.Index[Any]) -> bool:
    return isinstance(index.dtype, np.dtype) and index.dtype.kind in "iuf"


def _own_times(one: Observations) -> Array:
    assert one.times is not None  # `timed` has set them
    return one.times


def _stamps(index: pd.Index[Any]) -> Any:
    return index.to_timestamp() if isinstance(index, pd.PeriodIndex) else index
