"""From what users hold (Series, DataFrames, arrays, lists) to a `Panel` of labelled rows and named columns."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from kalman_em.arrays import Array, IntArray
from kalman_em.errors import InputError
from kalman_em.frames.columns import array_floats, named_columns, table_floats
from kalman_em.frames.labels import as_index, same_labels, shown
from kalman_em.observations import Observations, Panel

# The square of a larger value, summed over some rows, leaves the range of a float64.
LARGEST = 1e150


def to_panel(
    data: Any,
    *,
    inputs: Any = None,
    time: Hashable | None = None,
    series: Hashable | None = None,
    values: Any = None,
    obs_dim: int | None = None,
    allow_unobserved: bool = False,
) -> Panel:
    """Return `data` as a panel: one series for a plain table, one per id for a long frame.

    Parameters
    ----------
    data : Series, DataFrame, array_like of shape (T,) or (T, p), Observations or Panel
        Rows in time order; NaN (or what pandas takes for it, ``pd.NA`` and None) marks a missing value.
    inputs : array_like of shape (T,) or (T, k), Series, DataFrame or list of column names, optional
        Known inputs, one row a row of data. With labels of its own it must have exactly those of `data`;
        names are columns of a DataFrame `data`.
    time : column name, optional
        The column of a DataFrame that labels the rows (dates, periods or numbers); its index when left out.
    series : column name, optional
        The column of a long DataFrame that says which series a row belongs to. Series keep the order in which
        they first appear; their rows may be interleaved.
    values : column name or list of them, optional
        The observed columns; all that are left when omitted.
    obs_dim : int, optional
        The number of columns that the model expects.
    allow_unobserved : bool
        Whether a column or a series may be missing throughout (as in rows to predict).

    Returns
    -------
    Panel
        Every series with `names` (columns; a Series' name; ``y1``, ``y2``, ... for arrays) and a pandas
        `index` (0, 1, 2, ... where the data had no labels).

    Raises
    ------
    InputError
        If a column is not numeric or holds inf, nothing is observed, labels repeat or are out of order, a
        column named is not there, inputs do not fit the rows, or the number of columns is not `obs_dim`.

    Examples
    --------
    >>> import pandas as pd
    >>> from kalman_em.frames import to_panel
    >>> tracks = pd.DataFrame({"id": ["a", "a", "b"], "t": [0.0, 0.5, 0.0], "x": [1.0, None, 3.0]})
    >>> panel = to_panel(tracks, time="t", series="id")
    >>> panel.keys, panel.names, list(panel["a"].index)
    (('a', 'b'), ('x',), [0.0, 0.5])
    """
    if isinstance(data, pd.DataFrame):
        panel = _from_frame(data, inputs, time, series, values)
    else:
        for argument, name in (("time", time), ("series", series), ("values", values)):
            if name is not None:
                raise InputError(
                    f"{argument}: names a column of a DataFrame, got {name!r} with a {type(data).__name__}"
                )
        panel = _from_plain(data, inputs, obs_dim)
    if obs_dim is not None and panel.obs_dim != obs_dim:
        hint = "; choose the columns with values=" if isinstance(data, pd.DataFrame) else ""
        raise InputError(
            f"data: expected {obs_dim} column{'s' if obs_dim > 1 else ''}, as the model has, got "
            f"{panel.obs_dim} ({', '.join(panel.names[:10])}){hint}"
        )
    _check_size(panel)
    if not allow_unobserved:
        _check_observed(panel)
    return panel


def input_rows(inputs: Any, index: pd.Index[Any], *, labelled: bool = True) -> Array:
    """Return known inputs as an array, shape (T, k), for the rows labelled `index`.

    Parameters
    ----------
    inputs : array_like of shape (T,) or (T, k), Series or DataFrame
        One row a label; a longer Series or DataFrame that has every label is chosen from by label. True and False count
        as 1 and 0.
    index : pandas Index
        The labels of the rows.
    labelled : bool
        Whether `index` came from the user, for the message alone.

    Raises
    ------
    InputError
        If rows or labels differ from `index`, an input is missing, or is not a number.
    """
    if isinstance(inputs, pd.Series | pd.DataFrame):
        frame = inputs.to_frame() if isinstance(inputs, pd.Series) else inputs
        _check_columns(frame, "inputs")
        if not labelled and not isinstance(frame.index, pd.RangeIndex):
            raise InputError(
                f"inputs: have labels (the first is {shown(frame.index[0])}), but the rows have none; pass "
                "inputs.to_numpy()"
            )
        frame = _chosen_rows(frame, index) if labelled else frame
        same_labels(frame.index, index, "inputs")
        rows = table_floats(frame, list(frame.columns), "inputs", flags=True)
        names = [repr(column) for column in frame.columns]
    else:
        rows = array_floats(inputs, "inputs", flags=True)
        names = [str(position) for position in range(rows.shape[1])]
    if len(rows) != len(index):
        raise InputError(f"inputs: expected {len(index)} rows, one a row of data, got {len(rows)}")
    _check_inputs_known(rows, names, index)
    return rows


def _chosen_rows(frame: pd.DataFrame, index: pd.Index[Any]) -> pd.DataFrame:
    """Return the rows of `frame` labelled as in `index` if it is longer and has each of them once; else all."""
    if len(frame) <= len(index) or not frame.index.is_unique or not index.isin(frame.index).all():
        return frame
    return frame.loc[index]


def _from_plain(data: Any, inputs: Any, obs_dim: int | None) -> Panel:
    if isinstance(data, Panel):
        if inputs is not None:
            raise InputError("inputs: expected None with a Panel, whose series carry their own inputs")
        labelled = tuple(_labelled(one, key) for one, key in zip(data, data.keys or (), strict=True))
        return Panel(labelled, keys=data.keys)
    if isinstance(data, Observations):
        one = _labelled(data, None)
        if inputs is None:
            return Panel((one,))
        if data.inputs is not None:
            raise InputError("inputs: expected None, because the Observations carry inputs of their own")
        return Panel((replace(one, inputs=input_rows(inputs, one.index, labelled=data.index is not None)),))
    if isinstance(data, pd.Series):
        frame = data.to_frame(name="y1" if data.name is None else data.name)
        return _from_frame(frame, inputs, None, None, None)
    rows = _plain_rows(data, obs_dim)
    index = pd.RangeIndex(len(rows))
    known = None if inputs is None else input_rows(inputs, index, labelled=False)
    return Panel((Observations(rows, index=index, inputs=known),))


def _instead_of(data: Any) -> str:
    """Return what was given in place of a table, or how to make a table of it."""
    if isinstance(data, Mapping):
        return "; make one table of it: pd.DataFrame(data), or of tables pd.concat(data) with series= naming a column"
    if hasattr(data, "toarray"):
        return "; a sparse matrix becomes an array by data.toarray()"
    return f" ({str(data)[:60]!r})"


def _plain_rows(data: Any, obs_dim: int | None) -> Array:
    if not isinstance(data, list | tuple) and not hasattr(data, "__array__"):
        raise InputError(
            "data: expected a Series, DataFrame, array, list, Observations or Panel, got "
            f"{type(data).__name__}{_instead_of(data)}"
        )
    if isinstance(data, list | tuple) and any(isinstance(item, pd.DataFrame | Observations) for item in data):
        raise InputError(
            "data: expected one table, got a list of them; pass Panel([Observations(...), ...]), or one long "
            "DataFrame with series="
        )
    rows = array_floats(data, "data")
    if rows.size == 0:
        raise InputError(f"data: expected at least one row and one column, got shape {np.shape(data)}")
    n_rows, n_columns = rows.shape
    if obs_dim is not None and n_columns != obs_dim and n_rows == obs_dim:
        if np.ndim(data) == 1:
            raise InputError(f"data: expected shape (T, {obs_dim}), got ({n_rows},); put a single row in a list")
        raise InputError(
            f"data: looks transposed: expected (T, {obs_dim}), time first, got {rows.shape}; pass its transpose"
        )
    return rows


def _labelled(one: Observations, key: Hashable) -> Observations:
    where = "data: index" if key is None else f"data: index of series {key!r}"
    if one.index is not None:
        return replace(one, index=as_index(one.index, where))
    return replace(one, index=pd.RangeIndex(one.n_steps) if one.times is None else pd.Index(one.times))


def _from_frame(frame: pd.DataFrame, inputs: Any, time: Any, series: Any, values: Any) -> Panel:
    _check_columns(frame, "data")
    by_name = isinstance(inputs, str) or (
        isinstance(inputs, list | tuple) and len(inputs) > 0 and all(isinstance(item, str) for item in inputs)
    )
    input_columns = named_columns(frame, inputs, "inputs") if by_name else []
    roles: dict[Hashable, str] = dict.fromkeys(input_columns, "inputs")
    for argument, name in (("time", time), ("series", series)):
        if name is not None:
            column = named_columns(frame, [name], argument)[0]
            if column in roles:
                raise InputError(f"{argument}: column {column!r} is already used as {roles[column]}")
            roles[column] = argument
    columns = _value_columns(frame, values, roles)
    rows = table_floats(frame, columns, "data")
    known = table_floats(frame, input_columns, "inputs", flags=True) if by_name else None
    groups = _series_rows(frame, series)
    indexes = [_row_labels(frame, time, at, key, series) for key, at in groups]
    if known is not None:
        _check_inputs_known(known, [repr(column) for column in input_columns], frame.index)
    elif inputs is not None:
        known = input_rows(inputs, _labels_for_inputs(inputs, frame, indexes))
    return Panel(
        tuple(
            Observations(
                rows[at],
                index=index,
                names=tuple(map(str, columns)),
                inputs=None if known is None else known[at],
            )
            for (_, at), index in zip(groups, indexes, strict=True)
        ),
        keys=None if series is None else tuple(key for key, _ in groups),
    )


def _value_columns(frame: pd.DataFrame, values: Any, roles: dict[Hashable, str]) -> list[Hashable]:
    if values is None:
        left: list[Hashable] = [column for column in frame.columns if column not in roles]
        if not left:
            raise InputError(f"data: expected a column of values beside {list(roles)}, got none")
        return left
    columns = named_columns(frame, values, "values")
    for column in columns:
        if column in roles:
            raise InputError(f"values: column {column!r} is already used as {roles[column]}")
    return columns


def _series_rows(frame: pd.DataFrame, series: Any) -> list[tuple[Hashable, IntArray]]:
    """Return each series' key and rows, in order of first appearance."""
    if series is None:
        return [(None, np.arange(len(frame)))]
    codes, keys = pd.factorize(frame[series])
    if (codes < 0).any():
        row = int(np.argmax(codes < 0))
        raise InputError(
            f"series: expected an id in every row of column {series!r}, got none in row {shown(frame.index[row])}"
        )
    order = np.argsort(codes, kind="stable")
    bounds = np.searchsorted(codes[order], np.arange(1, len(keys)))
    return list(zip(keys.tolist(), np.split(order, bounds), strict=True))


def _row_labels(frame: pd.DataFrame, time: Any, at: IntArray, key: Hashable, series: Any) -> pd.Index[Any]:
    of_series = "" if key is None else f" of series {key!r}"
    if time is not None:
        column = frame[time].iloc[at]
        if isinstance(column.dtype, pd.StringDtype) or column.dtype == object or column.dtype == bool:
            raise InputError(
                f"time: expected dates, periods or numbers in column {time!r}, got {column.iloc[0]!r} "
                f"({type(column.iloc[0]).__name__}); turn text into dates with pd.to_datetime"
            )
        by = [time] if series is None else [series, time]
        sorting = f"data.sort_values({by if len(by) > 1 else time!r})"
        where = f"time: column {time!r}{of_series}"
        return as_index(pd.Index(column, name=time), where, sorting=sorting, is_of_series=series is not None)
    if key is not None and isinstance(frame.index, pd.RangeIndex):
        return pd.RangeIndex(len(at))  # a row number of the long frame says nothing of the time within a series
    labels = frame.index if key is None else frame.index[at]
    return as_index(labels, f"data: index{of_series}", is_of_series=series is not None)


def _labels_for_inputs(inputs: Any, frame: pd.DataFrame, indexes: list[pd.Index[Any]]) -> pd.Index[Any]:
    """Return the labels that inputs must have: the frame's, or those of its time column where they are these."""
    if len(indexes) == 1 and isinstance(inputs, pd.Series | pd.DataFrame) and not inputs.index.equals(frame.index):
        return indexes[0]
    return frame.index


def _check_columns(frame: pd.DataFrame, argument: str) -> None:
    if frame.columns.nlevels > 1:
        raise InputError(f"{argument}: expected one name a column, got {frame.columns.nlevels} levels of names")
    repeated = frame.columns.duplicated()
    if repeated.any():
        raise InputError(f"{argument}: expected distinct columns, got {frame.columns[repeated][0]!r} twice")
    if frame.shape[0] == 0 or frame.shape[1] == 0:
        raise InputError(f"{argument}: expected at least one row and one column, got shape {frame.shape}")


def _check_inputs_known(rows: Array, names: list[str], index: pd.Index[Any]) -> None:
    if np.isnan(rows).any():
        row, column = (int(i) for i in np.argwhere(np.isnan(rows))[0])
        raise InputError(
            f"inputs: expected a known value in every row, got none in column {names[column]} at {shown(index[row])}"
        )


def _check_size(panel: Panel) -> None:
    for one in panel:
        # A comparison with NaN is False.
        row, column = np.unravel_index(np.argmax(np.abs(one.values) > LARGEST), one.values.shape)
        value = float(one.values[row, column])
        if abs(value) > LARGEST:
            raise InputError(
                f"data: column {panel.names[column]!r} holds {value:g}, whose square is too large for a float; use "
                "larger units"
            )


def _check_observed(panel: Panel) -> None:
    for key, one in zip(panel.keys or (), panel, strict=True):
        if one.n_observed == 0 and panel.n_series > 1:
            raise InputError(f"data: series {key!r} has no observed value; leave it out")
    nowhere = np.all([one.is_missing.all(axis=0) for one in panel], axis=0)
    if nowhere.any():
        name = panel.names[int(np.argmax(nowhere))]
        raise InputError(f"data: column {name!r} has no observed value; leave it out or choose columns with values=")
