"""Online EM: expectations that move a little with every batch of rows, so that one pass does the work of many."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from kalman_em.arrays import as_count
from kalman_em.em.history import History
from kalman_em.em.problem import Divides, EMProblem
from kalman_em.em.result import Callback, EMResult
from kalman_em.em.steps import change_between, em_event, evaluate
from kalman_em.em.stopping import DEFAULT_STOPPING, EMStop, Stopping, StopReason
from kalman_em.em.variants import dividing
from kalman_em.errors import InputError, NumericalError, is_interrupt


@dataclass(frozen=True)
class Stochastic:
    """Stochastic (online) EM over batches of rows or series, with steps that become smaller.

    For mixtures, and, over a panel of many series, for models with regimes and state spaces whose parameters are the
    same at all times.

    After batch t the expectations s and the parameters are

        s = (1 - γ_t) s + γ_t E[s given batch t],        γ_t = (t + 2)^-exponent

    and the M-step at s. Guarantees: with an exponent above 1/2 and up to 1 it converges, with endless batches, to
    where the gradient of the log-likelihood vanishes; no single step need raise it, and after finitely many passes it
    is near a maximum, not at it: `em` from there closes the gap.

    Parameters
    ----------
    batch_size : int
        Rows (or series) in a batch. Steps are as many as batches: small ones leave a poor start in fewer passes.
    exponent : float
        Above 0.5, at most 1; smaller ones forget the start sooner, larger ones average more.
    tolerance : float
        The run ends when a pass raised the log-likelihood by less than this for every row (or series) ...
    max_passes : int
        ... or after so many passes over the data. `Stopping` says nothing here.

    Raises
    ------
    InputError
        If a number is out of its range.

    References
    ----------
    Cappé and Moulines, On-line expectation-maximization algorithm for latent data models, JRSS B 71 (2009), equation 4
    and theorem 1.

    Examples
    --------
    >>> import numpy as np
    >>> import kalman_em as kem
    >>> rng = np.random.default_rng(0)
    >>> points = np.concatenate([rng.normal(-2.0, 1.0, 6000), rng.normal(2.0, 1.0, 4000)])
    >>> online = kem.fit(kem.GaussianMixture(2), points, method=kem.Stochastic(batch_size=500), seed=0)
    >>> exact = kem.fit(kem.GaussianMixture(2), points)
    >>> bool((exact.log_likelihood - online.log_likelihood) / len(points) < 1e-3)
    True
    """

    batch_size: int = 1000
    exponent: float = 0.6
    tolerance: float = 1e-4
    max_passes: int = 20

    def __post_init__(self) -> None:
        object.__setattr__(self, "batch_size", as_count(self.batch_size, "batch_size"))
        object.__setattr__(self, "max_passes", as_count(self.max_passes, "max_passes"))
        if not 0.5 < self.exponent <= 1.0:
            raise InputError(f"exponent: expected a number above 0.5 and at most 1, got {self.exponent!r}")
        if not self.tolerance >= 0.0:
            raise InputError(f"tolerance: expected a number of at least 0, got {self.tolerance!r}")

    def run(
        self,
        problem: Any,
        start: Any,
        *,
        rng: np.random.Generator,
        stopping: Stopping = DEFAULT_STOPPING,
        callback: Callback[Any] | None = None,
        record_bound: bool = False,
    ) -> EMResult[Any]:
        """Return the best pass: an iteration is a pass, and the objective the log-likelihood after it."""
        del stopping, record_bound
        whole = dividing(problem)
        n_batches = max(2, -(-whole.n_units // self.batch_size))
        batches = whole.divided(min(n_batches, whole.n_units), rng)
        state = evaluate(whole, start)
        history = History(state.params, state.log_likelihood)
        moving = OnlineState(state.params, state.expectations, 0)
        try:
            for _ in range(self.max_passes):
                before = state
                try:
                    for at in rng.permutation(len(batches)):
                        moving = moving.stepped(whole, batches[at], len(batches), self.exponent)
                    state = evaluate(whole, moving.params)
                except NumericalError as error:
                    reason = error.reason if isinstance(error, EMStop) else StopReason.non_finite
                    return history.result(reason, f"pass {history.n_iterations + 1}: {error}")
                change = change_between(problem, before.params, state.params)
                history.record(state.params, state.log_likelihood, change)
                if callback is not None:
                    callback(em_event(history, state, before))
                if state.log_likelihood - before.log_likelihood < self.tolerance * whole.n_units:
                    return history.result(StopReason.converged, f"stochastic, in {len(batches)} batches a pass")
        except (KeyboardInterrupt, SystemError) as error:
            if not is_interrupt(error):
                raise
            return history.result(StopReason.interrupted)
        said = f"stochastic, in {len(batches)} batches a pass: its own max_passes ended it, no Stopping"
        return history.result(StopReason.max_iterations, said)


@dataclass(frozen=True, eq=False)
class OnlineState:
    """Parameters, the expectations that led to them, and the number of batches seen."""

    params: Any
    expectations: Any
    n_batches: int

    def stepped(
        self, whole: Divides[Any, Any], batch: EMProblem[Any, Any], times: float, exponent: float
    ) -> OnlineState:
        """Return the state after a batch, which stands for `times` as many rows as it has."""
        step = (self.n_batches + 2.0) ** -exponent
        fresh, _ = batch.e_step(self.params)
        mixed = whole.pooled([(1.0 - step, self.expectations), (step * times, fresh)])
        return OnlineState(whole.m_step(self.params, mixed), mixed, self.n_batches + 1)
