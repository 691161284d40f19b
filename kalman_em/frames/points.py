"""Rows in any order, from what users hold: their labels are carried along, and need not be distinct or in order."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd

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
