"""`initial_step="before"`: the prior one step before the first observation is one leading row of missing data."""

from __future__ import annotations

import numpy as np

from kalman_em.inference.rows import Rows, stack_rows
from kalman_em.models.specification import Specification
from kalman_em.observations import Observations, Panel


def with_leading_rows(panel: Panel, specification: Specification) -> Panel:
    """Return the panel as the filter must see it: with a missing row in front if the prior is one step before."""
    if specification.initial_step == "first":
        return panel
    return Panel(tuple(_led(one) for one in panel), panel.keys)


def rows_of(panel: Panel, specification: Specification) -> Rows:
    """Return the rows of the panel, leading ones included, as the filter and EM read them."""
    return stack_rows(with_leading_rows(panel, specification).series, n_leading(specification))


def n_leading(specification: Specification) -> int:
    """Return the number of rows that `with_leading_rows` puts in front of every series."""
    return 1 if specification.initial_step == "before" else 0


def _led(one: Observations) -> Observations:
    values = np.vstack([np.full((1, one.obs_dim), np.nan), one.values])
    # No observation hangs on the leading inputs, and m is learnt where a transition_input stands beside "before".
    inputs = None if one.inputs is None else np.vstack([np.zeros((1, one.input_dim)), one.inputs])
    return Observations(values, names=one.names, inputs=inputs)
