"""The series of whatever a user holds, for fits of their own; one that cannot be read stops no other."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from kalman_em.errors import InputError
from kalman_em.frames import to_panel
from kalman_em.observations import Observations, Panel

Found = dict[Hashable, Observations]
Reasons = dict[Hashable, str]


def series_of(data: Any, wide: Any, columns: Mapping[str, Any], obs_dim: int | None) -> tuple[Panel, Reasons]:
    """Return the series that can be read, and the reason for each that cannot; `columns` are arguments of `fit_each`.

    Series without any value are read: what cannot be learnt from them is for the fit to say.

    Raises
    ------
    InputError
        If an argument cannot be used, or no series can be read.
    """
    if not isinstance(wide, bool):
        raise InputError(f"wide: expected True or False, got {wide!r}")
    if wide:
        return _columns_as_series(data, columns)
    if isinstance(data, Mapping) and not isinstance(data, pd.DataFrame):
        return _one_by_one(list(data.items()), columns, obs_dim)
    if isinstance(data, list | tuple) and not (data and all(np.isscalar(item) or item is None for item in data)):
        return _one_by_one(list(enumerate(data)), columns, obs_dim)
    if isinstance(data, pd.DataFrame) and columns["series"] is None:
        raise InputError(
            "series: expected the column of a long DataFrame that says which series a row belongs to, got None; for a "
            "table with one series a column pass wide=True, for a single series of several values use fit"
        )
    if not isinstance(data, Panel | pd.DataFrame):
        raise InputError(
            "panel: expected a Panel, a long DataFrame with series=, a wide DataFrame with wide=True, or a dict or "
            f"list of series, got {type(data).__name__}"
        )
    return _long(data, columns, obs_dim)


def _long(data: Any, columns: Mapping[str, Any], obs_dim: int | None) -> tuple[Panel, Reasons]:
    def read(part: Any) -> Panel:
        return to_panel(part, **columns, obs_dim=obs_dim, allow_unobserved=True)

    try:
        return read(data), {}
    except InputError as error:
        key = columns["series"]
        if not _can_be_split(data, key, columns["inputs"]):
            raise
        parts = data.groupby(key, sort=False, observed=True)
        return _readable(((name, part) for name, part in parts), lambda part: read(part).series[0], error)


def _can_be_split(data: Any, series: Any, inputs: Any) -> bool:
    """Whether each series can be read by itself: its column is there and whole, and inputs are columns too."""
    if not isinstance(data, pd.DataFrame) or list(data.columns).count(series) != 1 or data[series].isna().any():
        return False
    return inputs is None or isinstance(inputs, str | list | tuple)


def _one_by_one(
    items: list[tuple[Hashable, Any]], columns: Mapping[str, Any], obs_dim: int | None
) -> tuple[Panel, Reasons]:
    for argument, value in columns.items():
        if value is not None:
            raise InputError(
                f"{argument}: names a column of a long DataFrame, got {value!r} with a dict or list of series"
            )
    if not items:
        raise InputError("panel: expected at least one series, got none")
    found, reasons = _each(items, lambda one: to_panel(one, obs_dim=obs_dim, allow_unobserved=True).series[0])
    if not found:
        key, reason = next(iter(reasons.items()))
        raise InputError(f"panel: series {key!r}: {reason.removeprefix('InputError: ')}")
    names = next(iter(found.values())).names
    if obs_dim in (None, 1) and all(one.obs_dim == 1 for one in found.values()):
        # Series of one column may each have a name of their own, as the columns of a table have.
        found = {
            key: Observations(one.values, times=one.times, index=one.index, names=names, inputs=one.inputs)
            for key, one in found.items()
        }
    return _panel(found), reasons


def _columns_as_series(data: Any, columns: Mapping[str, Any]) -> tuple[Panel, Reasons]:
    if not isinstance(data, pd.DataFrame):
        raise InputError(f"wide: expected a DataFrame with one series a column, got {type(data).__name__}")
    for argument in ("series", "inputs"):
        if columns[argument] is not None:
            raise InputError(f"{argument}: expected None with wide=True, whose columns are the series")

    def table(values: Any) -> Observations:
        return to_panel(data, time=columns["time"], values=values, allow_unobserved=True).series[0]

    try:
        whole = table(columns["values"])
    except InputError as error:
        chosen = columns["values"]
        names = [chosen] if isinstance(chosen, str) else data.columns.drop(columns["time"], errors="ignore")
        each = names if chosen is None or isinstance(chosen, str) else chosen
        return _readable(((name, [name]) for name in each), lambda one: _seen(table(one), 0), error)
    return _panel({name: _seen(whole, k) for k, name in enumerate(whole.names or ())}), {}


def wide_columns(data: Any, time: Any, values: Any) -> Panel:
    """Return the columns of a table as series with all of their rows, gaps at the ends too.

    Raises
    ------
    InputError
        If `data` is no DataFrame, or cannot be read.
    """
    if not isinstance(data, pd.DataFrame):
        raise InputError(f"wide: expected a DataFrame with one series a column, got {type(data).__name__}")
    table = to_panel(data, time=time, values=values, allow_unobserved=True).series[0]
    return Panel(
        tuple(Observations(column[:, None], index=table.index, names=("value",)) for column in table.values.T),
        keys=table.names,
    )


def _seen(table: Observations, column: int) -> Observations:
    """Return a column of a table from its first value to its last."""
    seen = np.flatnonzero(~table.is_missing[:, column])
    rows = slice(int(seen[0]), int(seen[-1]) + 1) if len(seen) else slice(0, table.n_steps)
    return Observations(table.values[rows, column : column + 1], index=table.index[rows], names=("value",))


def _readable(
    items: Iterable[tuple[Hashable, Any]], read: Callable[[Any], Observations], whole: InputError
) -> tuple[Panel, Reasons]:
    """Return what can be read; `whole`, what all of them together came to, where none can."""
    found, reasons = _each(items, read)
    if not found:
        raise whole
    return _panel(found), reasons


def _each(items: Iterable[tuple[Hashable, Any]], read: Callable[[Any], Observations]) -> tuple[Found, Reasons]:
    found: Found = {}
    reasons: Reasons = {}
    for key, one in items:
        try:
            found[key] = read(one)
        except InputError as error:
            reasons[key] = f"InputError: {error}"
    return found, reasons


def _panel(found: Found) -> Panel:
    return Panel(tuple(found.values()), keys=tuple(found))
