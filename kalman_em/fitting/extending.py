"""New rows after the end of a series."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np
import pandas as pd

from kalman_em.arrays import Array
from kalman_em.errors import InputError
from kalman_em.frames import continued_index, following, input_rows, named_columns, to_panel
from kalman_em.models.regressors import made_inputs, n_made
from kalman_em.observations import Observations, Panel


def rows_of_frame(data: Any, time: Hashable | None, names: tuple[str, ...]) -> Any:
    """Return the columns `names` of a frame, labelled by its column `time`; other data, and all without `time`, as is.

    Raises
    ------
    InputError
        If `time` is given and is no column of a DataFrame, or a column of the series is not there.
    """
    if time is None:
        return data
    if not isinstance(data, pd.DataFrame):
        raise InputError(f"time: names a column of a DataFrame, got {time!r} with a {type(data).__name__}")
    columns = named_columns(data, list(names), "data")
    return data.set_index(named_columns(data, [time], "time")[0])[columns]


def extended(panel: Panel, key: Hashable, data: Any, inputs: Any, model: object = None) -> Panel:
    """Return `panel` with the rows of `data` after those of the series called `key`.

    Raises
    ------
    InputError
        If the columns differ, the labels do not follow on, or inputs are missing or superfluous.
    """
    old = panel[key]
    check_is_one_table(data, old)
    new = to_panel(data, obs_dim=old.obs_dim, allow_unobserved=True).series[0]
    source = data.series[0] if isinstance(data, Panel) else data
    is_labelled = isinstance(data, pd.DataFrame | pd.Series) or (
        isinstance(source, Observations) and (source.index is not None or source.times is not None)
    )
    index = following(old.index, new.index, "data") if is_labelled else _continued(old.index, new.n_steps, data)
    if isinstance(old.index, pd.DatetimeIndex) and old.index.freq is not None:
        index = pd.DatetimeIndex(index, freq=old.index.freq)
    rows = Observations(
        np.vstack([old.values, new.values]),
        index=index,
        names=old.names,
        inputs=_joined_inputs(old, new, inputs, index, is_labelled, model),
    )
    keys = panel.keys or ()
    series = tuple(rows if name == key else one for name, one in zip(keys, panel, strict=True))
    return Panel(series, keys)


def check_is_one_table(data: Any, old: Observations) -> None:
    if isinstance(data, Panel) and data.n_series > 1:
        raise InputError(
            f"data: expected the new rows of one series, got a Panel of {data.n_series}; extend one series at a time, "
            "as with fitted.extend(panel[key], series=key)"
        )
    if isinstance(data, pd.DataFrame) and len(data) and tuple(map(str, data.columns)) != old.names:
        columns = ", ".join(map(str, data.columns))
        raise InputError(f"data: expected the columns {', '.join(old.names or ())}, in this order, got {columns}")


def _continued(old: pd.Index[Any], n_steps: int, data: Any) -> pd.Index[Any]:
    try:
        return old.append(continued_index(old, n_steps))
    except InputError as error:
        raise InputError(
            f"data: expected a Series or DataFrame with labels, because those of the series, the last of them "
            f"{old[-1]!r}, do not say what comes next; got {type(data).__name__} without any"
        ) from error


def _joined_inputs(
    old: Observations, new: Observations, inputs: Any, index: pd.Index[Any], is_labelled: bool, model: object
) -> Array | None:
    labels, m = index[old.n_steps :], n_made(model)
    if new.inputs is not None and inputs is not None:
        raise InputError("inputs: expected None, because the Observations carry inputs of their own")
    if old.inputs is None:
        if inputs is not None or new.inputs is not None:
            raise InputError("inputs: expected none, because the fit had none")
        return None
    made = made_inputs(model, index)[old.n_steps :]
    if old.input_dim == m:
        if inputs is not None or new.inputs is not None:
            raise InputError("inputs: expected none, because the fit had none")
        return np.vstack([old.inputs, made])
    if inputs is None and new.inputs is None:
        raise InputError(f"inputs: expected shape ({new.n_steps}, {old.input_dim - m}), one row a new row, got none")
    rows = new.inputs if new.inputs is not None else _input_rows(inputs, labels, is_labelled)
    if rows.shape[1] != old.input_dim - m:
        columns = f"{old.input_dim - m} column{'s' if old.input_dim - m > 1 else ''}"
        raise InputError(f"inputs: expected {columns}, as in the fit, got {rows.shape[1]}")
    return np.vstack([old.inputs, np.hstack([rows, made])])


def _input_rows(inputs: Any, labels: pd.Index[Any], is_labelled: bool) -> Array:
    # Beside rows without labels, inputs that count from 0 have none either.
    counts = isinstance(inputs, pd.Series | pd.DataFrame) and inputs.index.equals(pd.RangeIndex(len(labels)))
    if counts and not is_labelled:
        return input_rows(inputs, pd.RangeIndex(len(labels)))
    return input_rows(inputs, labels, labelled=not isinstance(labels, pd.RangeIndex))
