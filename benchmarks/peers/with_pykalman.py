"""pykalman: numpy, one Python step a row."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from pykalman import KalmanFilter

from benchmarks.cases import Array, Case
from benchmarks.sides import Outcome

LEARNT = [
    "transition_matrices",
    "observation_matrices",
    "transition_covariance",
    "observation_covariance",
    "initial_state_mean",
    "initial_state_covariance",
]


def prepared(case: Case, kind: str, variant: str) -> Callable[[], Outcome]:
    """Return the callable for one kind of work; a panel is a loop."""
    series = [np.ma.masked_invalid(values) for values in case.values]
    if kind == "log_likelihood":
        return lambda: Outcome(_log_likelihood(case, series))
    total = _log_likelihood(case, series)

    def run() -> Outcome:
        for values in series:
            if kind == "em":
                _model(case).em(values, n_iter=1, em_vars=LEARNT)
            elif kind == "filter":
                _model(case).filter(values)
            else:
                _model(case).smooth(values)
        return Outcome(total)

    return run


def _log_likelihood(case: Case, series: list[Array]) -> float:
    return float(sum(_model(case).loglikelihood(values) for values in series))


def _model(case: Case) -> KalmanFilter:
    start = case.start
    return KalmanFilter(
        transition_matrices=start.F,
        observation_matrices=start.H,
        transition_covariance=start.Q,
        observation_covariance=start.R,
        initial_state_mean=start.m,
        initial_state_covariance=start.P,
    )
