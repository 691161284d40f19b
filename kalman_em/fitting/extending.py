"""New rows after the end of a series."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np
import pandas as pd

from kalman_em.errors import InputError
from kalman_em.frames import as_index, check_regular, continued_index, input_rows, to_panel
from kalman_em.observations import Observations, Panel


def extended(panel: Panel, key: Hashable, data: Any, inputs: Any) -> Panel:
    """Return `panel` with the rows of `data` after those of the series called `key`.

    Raises
    ------
    InputError
        If the columns differ, the labels do not follow on, or inputs are missing or superfluous.
    """
    old = panel[key]
    new = to_panel(data, obs_dim=old.obs_dim, allow_unobserved=True).series[0]
    is_labelled = isinstance(data, pd.DataFrame | pd.Series) or (
        isinstance(data, Observations) and data.index is not None
    )
    if isinstance(data, pd.DataFrame) and new.names != old.names:
        raise InputError(f"data: expected the columns {old.names}, got {new.names}")
    index = _joined(old.index, new.index) if is_labelled else old.index.append(continued_index(old.index, new.n_steps))
    if isinstance(old.index, pd.DatetimeIndex) and old.index.freq is not None:
        index = pd.DatetimeIndex(index, freq=old.index.freq)
    rows = Observations(
        np.vstack([old.values, new.values]),
        index=index,
        names=old.names,
        inputs=_joined_inputs(old, new, inputs),
    )
    keys = panel.keys or ()
    series = tuple(rows if name == key else one for name, one in zip(keys, panel, strict=True))
    return Panel(series, keys)


def _joined(old: pd.Index[Any], new: pd.Index[Any]) -> pd.Index[Any]:
    if type(new) is not type(old) and not (_counts(old) and _counts(new)):
        raise InputError(f"data: expected labels that continue a {type(old).__name__}, got a {type(new).__name__}")
    index = as_index(old.append(new), "data")
    check_regular(index)
    return index.rename(old.name)


def _counts(index: pd.Index[Any]) -> bool:
    return isinstance(index, pd.RangeIndex) or index.dtype.kind in "iu"


def _joined_inputs(old: Observations, new: Observations, inputs: Any) -> Any:
    if old.inputs is None:
        if inputs is not None:
            raise InputError("inputs: expected none, because the fit had none")
        return None
    if inputs is None:
        raise InputError(f"inputs: expected shape ({new.n_steps}, {old.input_dim}), one row a new row, got none")
    rows = input_rows(inputs, new.index, labelled=False)
    if rows.shape[1] != old.input_dim:
        raise InputError(f"inputs: expected {old.input_dim} columns, got {rows.shape[1]}")
    return np.vstack([old.inputs, rows])
