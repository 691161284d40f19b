"""simdkalman: numpy, one Python step a row for all series at once."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import simdkalman

from benchmarks.cases import Case
from benchmarks.sides import Outcome


def prepared(case: Case, kind: str, variant: str) -> Callable[[], Outcome]:
    """Return the callable for one kind of work."""
    start = case.start
    model = simdkalman.KalmanFilter(
        state_transition=start.F, process_noise=start.Q, observation_model=start.H, observation_noise=start.R
    )
    values = case.values[:, :, 0] if start.obs_dim == 1 else case.values
    means = np.broadcast_to(start.m[:, None], (len(values), start.state_dim, 1))
    constant = 0.5 * math.log(2.0 * math.pi) * int(np.isfinite(values).sum())

    def computed(smoothed: bool) -> float:
        result = model.compute(
            values,
            0,
            initial_value=means,
            initial_covariance=start.P,
            smoothed=smoothed,
            filtered=not smoothed,
            observations=False,
            log_likelihood=True,
        )
        return float(np.sum(result.log_likelihood)) - constant

    if kind != "em":
        return lambda: Outcome(computed(kind == "smooth"))
    total = computed(False)

    def run() -> Outcome:
        model.em(values, n_iter=1, initial_value=means, initial_covariance=start.P)
        return Outcome(total)

    return run
