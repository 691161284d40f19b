"""filterpy: numpy, one Python step a row."""

from __future__ import annotations

from collections.abc import Callable

from filterpy.kalman import KalmanFilter

from benchmarks.cases import Case
from benchmarks.sides import Outcome


def prepared(case: Case, kind: str, variant: str) -> Callable[[], Outcome]:
    """Return the callable for one kind of work."""
    if kind == "log_likelihood":
        return lambda: Outcome(_log_likelihood(case))
    total = _log_likelihood(case)

    def run() -> Outcome:
        model = _model(case)
        means, covs, _, _ = model.batch_filter(case.values[0][..., None], update_first=True)
        model.rts_smoother(means, covs)
        return Outcome(total)

    return run


def _log_likelihood(case: Case) -> float:
    model, total = _model(case), 0.0
    for row in case.values[0]:
        model.update(row)
        total += model.log_likelihood
        model.predict()
    return float(total)


def _model(case: Case) -> KalmanFilter:
    start = case.start
    model = KalmanFilter(dim_x=start.state_dim, dim_z=start.obs_dim)
    model.x, model.P = start.m[:, None].copy(), start.P.copy()
    model.F, model.H, model.Q, model.R = start.F, start.H, start.Q, start.R
    return model
