"""Other data for a model that was fitted: read as those of the fit were, and of the same width."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from kalman_em.errors import InputError
from kalman_em.frames import to_panel
from kalman_em.observations import Panel


def read_like(
    panel: Panel, data: Any, *, inputs: Any, time: Hashable | None, series: Hashable | None, values: Any
) -> Panel:
    """Return `data` as a panel with as many columns and inputs as `panel`, those of a fit.

    Raises
    ------
    InputError
        If `data` cannot be read, or has other numbers of columns or inputs.
    """
    read = to_panel(data, inputs=inputs, time=time, series=series, values=values, obs_dim=panel.obs_dim)
    # A model with inputs says itself that they are missing.
    if read.input_dim and panel.input_dim and read.input_dim != panel.input_dim:
        columns = f"{panel.input_dim} column{'s' if panel.input_dim > 1 else ''}"
        raise InputError(f"inputs: expected {columns}, as in the fit, got {read.input_dim}")
    return read
