"""The record that a run of EM keeps as it goes: the objective, the changes, and the best parameters."""

from __future__ import annotations

import math
from typing import Generic

import numpy as np

from kalman_em.em.problem import Params
from kalman_em.em.result import EMResult
from kalman_em.em.stopping import FALL_ROUNDING, STEP_ROUNDING, StopReason


class History(Generic[Params]):
    """Grows by one entry an iteration; `result` freezes it. The one thing in a run of EM that changes.

    Examples
    --------
    >>> history = History("start", -10.0)
    >>> history.record("first", -8.0, change=0.5)
    >>> history.record("second", -9.0, change=0.1)
    >>> history.has_fallen
    True
    >>> history.result(StopReason.objective_fell).params
    'first'
    """

    def __init__(self, start: Params, log_likelihood: float, *, with_bound: bool = False) -> None:
        self.with_bound = with_bound
        self.log_likelihoods = [log_likelihood]
        self.bounds: list[float] = []
        self.parameter_changes: list[float] = []
        self.switched_at: int | None = None
        self._highest = log_likelihood
        self._best = (start, 0)

    @classmethod
    def resumed(
        cls, log_likelihoods: list[float], parameter_changes: list[float], *, highest: float, best: tuple[Params, int]
    ) -> History[Params]:
        """Return the record of a run that was kept elsewhere so far."""
        history = cls(best[0], log_likelihoods[0])
        history.log_likelihoods, history.parameter_changes = log_likelihoods, parameter_changes
        history._highest, history._best = highest, best
        return history

    @property
    def n_iterations(self) -> int:
        """Number of iterations recorded."""
        return len(self.parameter_changes)

    @property
    def has_fallen(self) -> bool:
        """Whether the latest objective is below the highest by more than rounding.

        Against the highest, not against the one before: many falls each as small as rounding add up.
        """
        return self.is_fall(self.log_likelihoods[-1])

    def is_fall(self, log_likelihood: float) -> bool:
        """Whether this objective would be a fall."""
        return self._highest - log_likelihood > FALL_ROUNDING * (1.0 + abs(self._highest))

    def record(self, params: Params, log_likelihood: float, change: float, bound: float = math.nan) -> None:
        """Add an iteration: its parameters, the objective and the bound there, and the relative change to them."""
        self.log_likelihoods.append(log_likelihood)
        self.bounds.append(bound)
        self.parameter_changes.append(change)
        # On a plateau the objective is only rounding, while the parameters still near their limit: the
        # latest of equals is the best.
        if log_likelihood >= self._highest - STEP_ROUNDING * (1.0 + abs(self._highest)):
            self._best = (params, self.n_iterations)
        self._highest = max(self._highest, log_likelihood)

    def amend(self, params: Params, log_likelihood: float, bound: float = math.nan) -> None:
        """Put the end of a leap in place of the latest iteration's parameters and objective, which it raises."""
        self.log_likelihoods[-1] = log_likelihood
        if self.bounds:
            self.bounds[-1] = bound
        self._best = (params, self.n_iterations)
        self._highest = max(self._highest, log_likelihood)

    def restate(self, log_likelihood: float) -> None:
        """Put the latest objective, computed anew in another way, in the place of the old: see `Switches`.

        What comes is compared with it, and not with those before, which were computed in the old way.
        """
        self.log_likelihoods[-1] = log_likelihood
        self._highest = log_likelihood
        self.switched_at = self.n_iterations

    def result(self, reason: StopReason, detail: str = "") -> EMResult[Params]:
        """Return the run so far as a result."""
        params, iteration = self._best
        # An interrupt may have come between the two lists.
        n_iterations = self.n_iterations
        return EMResult(
            params=params,
            log_likelihoods=np.array(self.log_likelihoods[: n_iterations + 1]),
            parameter_changes=np.array(self.parameter_changes, dtype=np.float64),
            best_iteration=iteration,
            stop_reason=reason,
            detail=detail,
            switched_at=self.switched_at,
            bound_history=np.array(self.bounds[:n_iterations], dtype=np.float64) if self.with_bound else None,
        )
