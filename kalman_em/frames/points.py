"""Rows in any order, from what users hold: their labels are carried along, and need not be distinct or in order."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd

from kalman_em.errors import InputError
from kalman_em.frames.reading import to_panel
from kalman_em.observations import Panel


def to_points(data: Any, *, values: Any = None, obs_dim: int | None = None, allow_unobserved: bool = False) -> Panel:
    """Return `data` as a panel of rows whose order says nothing; the other arguments are those of `to_panel`.

    Examples
    --------
    >>> import pandas as pd
    >>> drawn = pd.DataFrame({"x": [1.0, 2.0, 1.0]}, index=["b", "a", "b"])
    >>> to_points(drawn)[0].index.tolist()
    ['b', 'a', 'b']
    """
    if not isinstance(data, pd.Series | pd.DataFrame):
        return to_panel(data, values=values, obs_dim=obs_dim, allow_unobserved=allow_unobserved)
    panel = to_panel(data.reset_index(drop=True), values=values, obs_dim=obs_dim, allow_unobserved=allow_unobserved)
    return Panel(tuple(replace(one, index=data.index) for one in panel), panel.keys)


def points_like(data: Any, names: tuple[str, ...]) -> Panel:
    """Return rows of the columns `names`, as those of a fit: a DataFrame's are chosen by name, others by position.

    Raises
    ------
    InputError
        If the rows cannot be read, or a column is not there.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame({"kind": ["a"], "y": [2.0], "x": [1.0]})
    >>> points_like(table, ("x", "y"))[0].values.tolist()
    [[1.0, 2.0]]
    """
    return to_points(columns_like(data, names), obs_dim=len(names), allow_unobserved=True)


def columns_like(data: Any, names: tuple[str, ...]) -> Any:
    """Return a DataFrame with its columns `names` alone, in that order; other data as they are.

    Raises
    ------
    InputError
        If a column is not there, or there twice.

    Examples
    --------
    >>> import pandas as pd
    >>> columns_like(pd.DataFrame({"y": [2.0], "x": [1.0]}), ("x",)).columns.tolist()
    ['x']
    """
    if not isinstance(data, pd.DataFrame):
        return data
    own = [str(column) for column in data.columns]
    for name in names:
        if own.count(name) != 1:
            raise InputError(
                f"data: expected the columns of the fit, {', '.join(names)}; {name} is {own.count(name)} times among "
                f"{', '.join(own)}"
            )
    return data.iloc[:, [own.index(name) for name in names]]
