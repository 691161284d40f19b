"""One iteration of EM: an M-step, then an E-step at its result."""

from __future__ import annotations

import math
from collections.abc import MutableMapping, MutableSequence
from dataclasses import dataclass
from typing import Generic

import numpy as np

from kalman_em.em.change import relative_change
from kalman_em.em.history import History
from kalman_em.em.problem import EMProblem, Expectations, MeasuresChange, Params
from kalman_em.em.result import EMIteration
from kalman_em.errors import InputError, NumericalError


@dataclass(frozen=True, eq=False)
class EMState(Generic[Params, Expectations]):
    """Parameters with the expectations and the objective at them, and at no others."""

    params: Params
    expectations: Expectations
    log_likelihood: float


def em_step(
    problem: EMProblem[Params, Expectations], state: EMState[Params, Expectations]
) -> tuple[EMState[Params, Expectations], float]:
    """Return the state after one M-step and the E-step at its result, and the change of the parameters.

    Raises
    ------
    InputError
        If the M-step returned the array, list or mapping it was given, or parameters of another structure.
    NumericalError
        If the parameters or the objective are not finite.
    """
    params = problem.m_step(state.params, state.expectations)
    # Parameters written to in place would look converged, and the best would be lost with them.
    if params is state.params and isinstance(params, np.ndarray | MutableMapping | MutableSequence):
        raise InputError(f"m_step: expected new parameters, got the {type(params).__name__} that it was given")
    change = change_between(problem, state.params, params)
    if math.isnan(change):
        raise NumericalError("the M-step gave parameters that are not finite")
    return evaluate(problem, params), change


def change_between(problem: object, old: Params, new: Params) -> float:
    """Return how far parameters moved, as the problem measures it or relative to their size."""
    if isinstance(problem, MeasuresChange):
        return float(problem.parameter_change(old, new))
    return relative_change(old, new)


def evaluate(problem: EMProblem[Params, Expectations], params: Params) -> EMState[Params, Expectations]:
    """Return the state at `params`: one E-step.

    Raises
    ------
    InputError
        If the E-step does not return a pair whose second entry is a real number.
    NumericalError
        If the objective is not finite.
    """
    outcome = problem.e_step(params)
    if not isinstance(outcome, tuple) or len(outcome) != 2:
        raise InputError(f"e_step: expected a pair (expectations, log-likelihood), got {type(outcome).__name__}")
    expectations, objective = outcome
    value = np.asarray(objective)
    if value.ndim != 0 or value.dtype.kind not in "fiu":
        raise InputError(f"e_step: expected a real number as log-likelihood, got {type(objective).__name__}")
    log_likelihood = float(value)
    if not math.isfinite(log_likelihood):
        raise NumericalError(f"the objective is {log_likelihood}, not a finite number")
    return EMState(params, expectations, log_likelihood)


def em_event(
    history: History[Params], state: EMState[Params, Expectations], previous: EMState[Params, Expectations]
) -> EMIteration[Params]:
    """Return the latest iteration as a callback receives it."""
    return EMIteration(
        iteration=history.n_iterations,
        params=state.params,
        log_likelihood=state.log_likelihood,
        gain=state.log_likelihood - previous.log_likelihood,
        parameter_change=history.parameter_changes[-1],
    )
