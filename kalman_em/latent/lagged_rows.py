"""Series laid out for an autoregression: every row beside those before it."""

from __future__ import annotations

import numpy as np

from kalman_em.arrays import Array, IntArray, frozen
from kalman_em.errors import InputError
from kalman_em.observations import Panel


def lagged_values(panel: Panel, order: int, centre: float) -> tuple[Array, IntArray]:
    """Return rows (y[t], ..., y[t-p]) less `centre`, (N, p + 1), and where those of every series begin.

    Examples
    --------
    >>> from kalman_em import Observations
    >>> values, starts = lagged_values(Panel([Observations([[1.0], [2.0], [4.0]])]), 1, 1.0)
    >>> values.tolist(), starts.tolist()
    ([[1.0, 0.0], [3.0, 1.0]], [0, 2])
    """
    lagged = [np.lib.stride_tricks.sliding_window_view(one.values[:, 0] - centre, order + 1) for one in panel]
    starts = np.concatenate([[0], np.cumsum([len(one) for one in lagged])])
    return frozen(np.concatenate(lagged)[:, ::-1].copy()), starts


def check_series(panel: Panel, order: int) -> None:
    """Raise `InputError` unless the series of `panel` are such that a Markov autoregression can be learnt from them."""
    if panel.input_dim:
        raise InputError("inputs: expected none, as MarkovAutoregression has no inputs")
    if panel.obs_dim != 1:
        raise InputError(f"data: expected one column, got {panel.obs_dim}: {', '.join(panel.names[:10])}")
    for key, one in zip(panel.keys or (), panel, strict=True):
        where = f" in series {key!r}" if panel.n_series > 1 else ""
        if one.n_steps <= order:
            raise InputError(f"data: expected more than {order} rows{where}, as many lags are taken, got {one.n_steps}")
