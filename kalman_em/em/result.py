"""What a run of EM reports: each iteration as it happens (`EMIteration`), and how it ended (`EMResult`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic

import numpy as np

from kalman_em.arrays import Array, as_floats, check_shape, frozen
from kalman_em.em.problem import Params
from kalman_em.em.stopping import FALL_ROUNDING, StopReason
from kalman_em.errors import InputError


@dataclass(frozen=True, eq=False, kw_only=True)
class EMIteration(Generic[Params]):
    """One iteration, as a callback receives it.

    Attributes
    ----------
    iteration : int
        1 for the first M-step.
    params : object
        The parameters after it.
    log_likelihood : float
        The log-likelihood (or bound) at `params`.
    gain : float
        `log_likelihood` minus that of the iteration before.
    parameter_change : float
        The largest relative change of the parameters in this iteration.

    Examples
    --------
    >>> import kalman_em as kem
    >>> gains = []
    >>> nile = kem.datasets.load("nile")["flow"]
    >>> fitted = kem.fit(kem.LocalLevel(), nile, callback=lambda step: gains.append(step.gain))
    >>> len(gains) == fitted.em.n_iterations, min(gains) > -1e-9
    (True, True)
    """

    iteration: int
    params: Params
    log_likelihood: float
    gain: float
    parameter_change: float


# What a run climbs, unless it says otherwise.
OBJECTIVE = "log-likelihood"

Callback = Callable[[EMIteration[Params]], object]


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class EMResult(Generic[Params]):
    """How a run of EM ended.

    Attributes
    ----------
    params : object
        The best parameters of the run: those with the highest objective, which need not be the last.
        Among objectives equal to within rounding (1e-12 of 1 + |objective|), the latest.
    log_likelihoods : ndarray, shape (n_iterations + 1,), read-only
        The log-likelihood (or bound) at the start and after each iteration.
    parameter_changes : ndarray, shape (n_iterations,), read-only
        The largest relative change of the parameters in each iteration; inf where zeros became something.
    best_iteration : int
        The iteration that gave `params`; 0 is the start.
    stop_reason : StopReason
        Why the run ended, with a remedy.
    detail : str
        More on that, such as the text of an error; often empty.
    start_log_likelihoods : ndarray, shape (n_starts,), read-only
        The best log-likelihood reached from each start, NaN for one that failed; one entry for one start.
    switched_at : int, optional
        The iteration from which on the problem was computed in another way (see `Switches`); None if it never was.
    bound_history : ndarray, shape (n_iterations,), read-only, optional
        Where it was asked for, the lower bound at the parameters of each iteration that the E-step before it gives:
        what the M-step raised (see `kalman_em.em.bound`). The next E-step closes the gap, `kl_gaps`. It may be -inf
        where the new parameters make impossible what the old ones held for possible.
    objective : str
        What was climbed, in words: "log-likelihood", of hard EM another.

    Raises
    ------
    InputError
        If the lengths do not fit together.

    Examples
    --------
    >>> result = EMResult(params=2.5, log_likelihoods=[-9.0, -7.0, -6.5], parameter_changes=[0.8, 0.2],
    ...                   best_iteration=2, stop_reason=StopReason.max_iterations)
    >>> result.log_likelihood, result.n_iterations, result.n_falls
    (-6.5, 2, 0)
    >>> print(result)
    max_iterations after 2 iterations, log-likelihood -6.5. Continue from these parameters with ...
    """

    params: Params
    log_likelihoods: Array
    parameter_changes: Array
    best_iteration: int
    stop_reason: StopReason
    detail: str = ""
    start_log_likelihoods: Array | None = None
    switched_at: int | None = None
    bound_history: Array | None = None
    objective: str = OBJECTIVE

    def __post_init__(self) -> None:
        log_likelihoods = as_floats(self.log_likelihoods, "log_likelihoods")
        changes = np.array(self.parameter_changes, dtype=np.float64)
        changes.setflags(write=False)
        if log_likelihoods.ndim != 1 or len(log_likelihoods) == 0:
            raise InputError(f"log_likelihoods: expected shape (n + 1,), got {log_likelihoods.shape}")
        check_shape(changes, (len(log_likelihoods) - 1,), "parameter_changes")
        if not 0 <= self.best_iteration < len(log_likelihoods):
            raise InputError(f"best_iteration: expected 0 to {len(changes)}, got {self.best_iteration}")
        starts = self.start_log_likelihoods
        reached = [log_likelihoods[self.best_iteration]] if starts is None else starts
        object.__setattr__(self, "log_likelihoods", log_likelihoods)
        object.__setattr__(self, "parameter_changes", changes)
        object.__setattr__(self, "start_log_likelihoods", as_floats(reached, "start_log_likelihoods", allow_nan=True))
        if self.bound_history is not None:
            bounds = np.array(self.bound_history, dtype=np.float64)
            check_shape(bounds, changes.shape, "bound_history")
            object.__setattr__(self, "bound_history", frozen(bounds))

    @property
    def log_likelihood(self) -> float:
        """The log-likelihood (or bound) at `params`, and at no other parameters."""
        return float(self.log_likelihoods[self.best_iteration])

    @property
    def n_iterations(self) -> int:
        """Number of M-steps whose result was evaluated; one that failed is not counted."""
        return len(self.parameter_changes)

    @property
    def kl_gaps(self) -> Array:
        """How far each bound was below the log-likelihood at the same parameters, shape (n_iterations,).

        That is KL(q, p(z given y)), the divergence between what the E-step before held of the hidden values and what
        the new parameters say of them (Neal & Hinton 1998, equation 7); never below 0 but for rounding.

        Raises
        ------
        InputError
            If the bound was not kept: pass ``record_bound=True``.
        """
        if self.bound_history is None:
            raise InputError("bound_history: was not kept in this run; fit with record_bound=True")
        gaps: Array = self.log_likelihoods[1:] - self.bound_history
        return gaps

    @property
    def n_falls(self) -> int:
        """Number of iterations whose objective is below the highest before it by more than rounding.

        Rounding is 1e-9 of 1 + |highest|.
        """
        highest = np.maximum.accumulate(self.log_likelihoods)[:-1]
        return int(np.count_nonzero(self._falls() > FALL_ROUNDING * (1.0 + np.abs(highest))))

    @property
    def largest_fall(self) -> float:
        """How far the objective ever was below the highest before it, rounding included; 0 if never."""
        return float(self._falls().max(initial=0.0))

    @property
    def message(self) -> str:
        """One line: why the run stopped, where, and, unless it converged, what to try."""
        return self.told()

    def told(self, objective: str = OBJECTIVE) -> str:
        """Return the message; where a log-likelihood was climbed it may have another name, such as "lower bound"."""
        objective = objective if self.objective == OBJECTIVE else self.objective
        iterations = "1 iteration" if self.n_iterations == 1 else f"{self.n_iterations} iterations"
        parts = [f"{self.stop_reason} after {iterations}, {objective} {self.log_likelihood:.8g}"]
        if self.n_falls:
            parts.append(f"the objective fell by {self.largest_fall:.3g}")
        if self.detail:
            parts.append(" ".join(self.detail.split()))
        text = "; ".join(parts).rstrip(".") + "."
        return text if self.stop_reason.is_converged else f"{text} {self.stop_reason.remedy}"

    def __str__(self) -> str:
        return self.message

    def __repr__(self) -> str:
        iterations = f"{self.n_iterations} iteration{'' if self.n_iterations == 1 else 's'}"
        return f"EMResult({self.stop_reason} after {iterations}, {self.objective} {self.log_likelihood:.8g})"

    def _falls(self) -> Array:
        falls: Array = np.maximum.accumulate(self.log_likelihoods)[:-1] - self.log_likelihoods[1:]
        return falls
