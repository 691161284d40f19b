"""The inputs that a model makes out of the row labels itself, beside those that are given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from kalman_em.arrays import Array
from kalman_em.models.intervention import Intervention
from kalman_em.models.regression import TimeVaryingRegression
from kalman_em.models.structural import Structural
from kalman_em.observations import Observations, Panel


def n_made(model: object) -> int:
    """Return the number of inputs that `model` makes."""
    return len(_makers(model))


def made_inputs(model: object, index: pd.Index[Any]) -> Array:
    """Return the inputs (T, m) that `model` makes for the rows labelled `index`."""
    return np.array([one.values(index) for one in _makers(model)]).reshape(-1, len(index)).T


def with_made_inputs(model: object, panel: Panel) -> Panel:
    """Return `panel` with the inputs that `model` makes behind those that are given."""
    if not n_made(model):
        return panel
    return Panel(tuple(_with_made(model, one) for one in panel), panel.keys)


def _with_made(model: object, one: Observations) -> Observations:
    made = made_inputs(model, one.index)
    inputs = made if one.inputs is None else np.hstack([one.inputs, made])
    return Observations(one.values, times=one.times, index=one.index, names=one.names, inputs=inputs)


def moves_with_inputs(model: object) -> bool:
    """Whether `model` sees states through its inputs, so that H is known for other rows by theirs."""
    return any(isinstance(part, TimeVaryingRegression) for part in _parts(model))


def _makers(model: object) -> list[Intervention]:
    return [part for part in _parts(model) if isinstance(part, Intervention)]


def _parts(model: object) -> Sequence[object]:
    return model.components if isinstance(model, Structural) else (model,)
