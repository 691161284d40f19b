"""Beyond the data: the forecast of a series, and new series drawn from the fitted model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from kalman_em.arrays import Array, as_count, as_input_rows
from kalman_em.errors import InputError
from kalman_em.forecasting import Forecast
from kalman_em.frames import as_index, continued_index, following, follows_kind, input_rows
from kalman_em.inference.arguments import check_generator
from kalman_em.inference.prediction import predict_rows
from kalman_em.inference.simulation import simulate
from kalman_em.linalg import square_root
from kalman_em.models.leading import n_leading
from kalman_em.models.regressors import made_inputs, moves_with_inputs, n_made
from kalman_em.models.specification import Specification
from kalman_em.models.structural import Additive
from kalman_em.observations import Observations, Panel
from kalman_em.posteriors import FilteredStates, SmoothedStates
from kalman_em.systems import LinearGaussianSystem


def forecasted(
    system: LinearGaussianSystem,
    filtered: FilteredStates,
    one: Observations,
    state_names: tuple[str, ...],
    steps: Any,
    inputs: Any,
    index: Any,
    model: object = None,
) -> Forecast:
    """Return the forecast of the rows after the end of `one`; the arguments are those of `Fit.forecast`."""
    steps = as_count(steps, "steps")
    labels = continued_index(one.index, steps) if index is None else _labels_ahead(one.index, index, steps)
    if inputs is not None and system.input_dim:
        inputs = input_rows(inputs, labels, labelled=index is not None or not isinstance(labels, pd.RangeIndex))
    inputs = _with_made(model, system.input_dim, one.index, labels, inputs)
    last = None if one.inputs is None else one.inputs[-1]
    seen = _seen_through(model, system, one, steps, inputs)
    ahead = predict_rows(system, filtered, steps, inputs=inputs, last_input=last, observation_matrix=seen)
    return Forecast(
        means=ahead.observation_means,
        covs=ahead.observation_covs,
        names=one.names or (),
        index=labels,
        state_means=ahead.state_means,
        state_covs=ahead.state_covs,
        state_names=state_names,
    )


def drawn(
    system: LinearGaussianSystem,
    specification: Specification,
    one: Observations,
    smoothed: SmoothedStates | None,
    n_steps: Any,
    rng: Any,
    inputs: Any,
) -> pd.DataFrame:
    """Return a series drawn from `system`; the arguments are those of `Fit.simulate`.

    `smoothed` are the states from whose first a diffuse start is drawn; None for a start that has a distribution.
    """
    n = one.n_steps if n_steps is None else as_count(n_steps, "n_steps")
    rng = np.random.default_rng() if rng is None else rng
    check_generator(rng)
    index = one.index if n == one.n_steps else pd.RangeIndex(n)
    known = _inputs_of_rows(system, one, inputs, index)
    if n != one.n_steps:
        specification.check_known_elsewhere(f"a series of {n} rows")
    lead = n_leading(specification)
    if known is not None and lead:
        known = np.vstack([np.zeros((lead, known.shape[1])), known])
    first = None
    if smoothed is not None:
        root = square_root(smoothed.smoothed_covs[0])
        first = smoothed.smoothed_means[0] + root @ rng.standard_normal(system.state_dim)
    new = simulate(system, n + lead, rng, inputs=known, initial_state=first)
    return pd.DataFrame(new.values[lead:].copy(), index=index, columns=list(one.names or ()))


def _seen_through(
    model: object, system: LinearGaussianSystem, one: Observations, steps: int, inputs: Any
) -> Array | None:
    """Return H of the rows ahead, where it holds their inputs."""
    if not isinstance(model, Additive) or not moves_with_inputs(model):
        return None
    if inputs is None:
        raise InputError(f"inputs: expected shape ({steps}, {system.input_dim}), one row a predicted step, got none")
    known = as_input_rows(inputs, steps, system.input_dim)
    return model.observation_ahead(Panel((one,)), system.observation_matrix[-1], known)


def _with_made(model: object, input_dim: int, old: pd.Index[Any], labels: pd.Index[Any], inputs: Any) -> Any:
    """Return the inputs of the rows ahead: those that are given, then those that the model makes."""
    m = n_made(model)
    if not m:
        return inputs
    made = made_inputs(model, old.append(labels))[len(old) :]
    k = input_dim - m
    if not k and inputs is not None:
        raise InputError("inputs: expected none, because the fit had none")
    if not k:
        return made
    if inputs is None:
        raise InputError(f"inputs: expected shape ({len(labels)}, {k}), one row a predicted step, got none")
    return np.hstack([as_input_rows(inputs, len(labels), k), made])


def _labels_ahead(old: pd.Index[Any], index: Any, steps: int) -> pd.Index[Any]:
    """Return the labels a user gave for the rows ahead; those of the kind of the data must follow on."""
    labels = as_index(index, "index")
    if len(labels) != steps:
        raise InputError(f"index: expected {steps} label{'s' if steps > 1 else ''}, one a step, got {len(labels)}")
    if follows_kind(old, labels):
        following(old, labels, "index", is_forecast=True)
    return labels


def _inputs_of_rows(system: LinearGaussianSystem, one: Observations, inputs: Any, index: pd.Index[Any]) -> Array | None:
    if system.input_dim == 0:
        if inputs is not None:
            raise InputError("inputs: expected none, because the fit had none")
        return None
    if inputs is not None:
        known = input_rows(inputs, index, labelled=not isinstance(index, pd.RangeIndex))
        if known.shape[1] != system.input_dim:
            columns = f"{system.input_dim} column{'s' if system.input_dim > 1 else ''}"
            raise InputError(f"inputs: expected {columns}, as in the fit, got {known.shape[1]}")
        return known
    if len(index) != one.n_steps:
        raise InputError(
            f"inputs: expected shape ({len(index)}, {system.input_dim}), one row a step, got none; those of the fit "
            f"are for {one.n_steps} steps"
        )
    return one.inputs
