"""statsmodels: the compiled filter and smoother."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from statsmodels.tsa.statespace.kalman_smoother import (
    SMOOTHER_STATE,
    SMOOTHER_STATE_AUTOCOV,
    SMOOTHER_STATE_COV,
    KalmanSmoother,
)

from benchmarks.cases import Array, Case
from benchmarks.sides import Outcome


def prepared(case: Case, kind: str, variant: str) -> Callable[[], Outcome]:
    """Return the callable for one kind of work; a panel is a loop."""
    models = [_model(case, values) for values in case.values]
    if kind == "log_likelihood":
        return lambda: Outcome(sum(float(model.loglike()) for model in models))
    if kind == "filter":
        return lambda: Outcome(sum(float(model.filter().llf_obs.sum()) for model in models))

    def run() -> Outcome:
        total = 0.0
        for model in models:
            smoothed = model.smooth(smoother_output=SMOOTHER_STATE | SMOOTHER_STATE_COV | SMOOTHER_STATE_AUTOCOV)
            total += float(smoothed.llf_obs.sum())
        if kind == "em":
            return Outcome(total)
        checks = {
            "smoothed_means": smoothed.smoothed_state.sum(axis=1),
            "smoothed_covs": smoothed.smoothed_state_cov.sum(axis=2),
        }
        return Outcome(total, lambda: checks)

    return run


def _model(case: Case, values: Array) -> KalmanSmoother:
    start, d = case.start, case.start.state_dim
    model = KalmanSmoother(k_endog=start.obs_dim, k_states=d, k_posdef=d)
    model.bind(np.array(values))
    model["selection"] = np.eye(d)
    model["transition"], model["state_cov"] = start.F, start.Q
    model["design"], model["obs_cov"] = start.H, start.R
    model.initialize_known(start.m, start.P)
    return model
