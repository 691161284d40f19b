"""Variants of EM: other E-steps, or another order of the same steps, that go round the one loop."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Protocol, runtime_checkable

import numpy as np

from kalman_em.arrays import as_count, as_floats
from kalman_em.em.loop import run_em
from kalman_em.em.problem import Divides, EMProblem, Tempers
from kalman_em.em.result import Callback, EMResult
from kalman_em.em.stopping import DEFAULT_STOPPING, Stopping
from kalman_em.errors import InputError

# At each temperature but the last so many iterations: far enough to follow the maximum, not to settle.
STEPS_A_TEMPERATURE = 25


@runtime_checkable
class Variant(Protocol):
    """A way to climb: `run_em` itself, or something in its place."""

    def run(
        self,
        problem: Any,
        start: Any,
        *,
        rng: np.random.Generator,
        stopping: Stopping = ...,
        callback: Callback[Any] | None = ...,
        record_bound: bool = ...,
    ) -> EMResult[Any]:
        """Return how the run from `start` ended."""
        ...


@dataclass(frozen=True)
class Plain:
    """EM itself: both steps exact, or an M-step that only raises the bound (generalised EM), as the problem has it.

    Guarantees: the log-likelihood never falls, and the gradient vanishes at the limit (Dempster, Laird & Rubin 1977,
    theorems 1 and 4; for generalised EM and ECM, where one block of parameters is raised after another, Meng & Rubin,
    Maximum likelihood estimation via the ECM algorithm, Biometrika 80 (1993)).
    """

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
        """Return the run of `run_em`."""
        del rng
        return run_em(problem, start, stopping=stopping, callback=callback, record_bound=record_bound)


@dataclass(frozen=True)
class Hard:
    """Hard (classification) EM: every hidden value is set to its most probable one.

    For mixtures, hidden Markov models and Markov autoregressions.

    Guarantees: the classification log-likelihood, max over z of log p(y, z), never falls, and the run ends after
    finitely many steps. Estimates are biased even with endless data: components are cut off where they overlap, so
    that variances come out too small and means too far apart. With ``Shared(Isotropic())`` and equal known weights a
    mixture is k-means; a hidden Markov model is trained by Viterbi paths.

    Of a state space the most probable states are the smoothed means, and the objective is the log density of data and
    states together, max over x of log p(y, x), which never falls. What it loses: the spread of the states given the
    data is left out of every sum, so that variances come out too small, and the smaller they are the less is left of
    them. Where the noise of states is learnt there is mostly no maximum: the density grows without end while a
    variance goes to 0, and the run ends, as a rule soon, as ``degenerate_covariance`` with what has collapsed. States
    all of whose loadings are learnt have no scale of their own, and are refused. It is of use where the noise of the
    states is known.

    References
    ----------
    Celeux and Govaert, A classification EM algorithm for clustering and two stochastic versions, CSDA 14 (1992).

    Examples
    --------
    >>> import kalman_em as kem
    >>> flows = kem.datasets.load("nile")["flow"]
    >>> soft, hard = (kem.fit(kem.GaussianMixture(2), flows, method=m) for m in ("em", kem.Hard()))
    >>> bool(hard.log_likelihood < soft.log_likelihood)
    True
    """

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
        """Return the run at temperature 0; its objective is the classification log-likelihood."""
        del rng
        cold = _tempering(problem).tempered(0.0)
        run = run_em(cold, start, stopping=stopping, callback=callback, record_bound=record_bound)
        return replace(run, objective="log-likelihood of the data with their most probable hidden values")


@dataclass(frozen=True)
class Annealed:
    """Deterministic annealing: EM at falling temperatures, at the end EM itself.

    For mixtures, hidden Markov models and Markov autoregressions.

    Guarantees: at each temperature its objective never falls, and the run at temperature 1 ends at a maximum of the
    log-likelihood as any other. That it is a better one than without is a hope, not a promise: poor maxima that are
    far from all others fade at high temperatures, but so does what tells components apart: where they merge, or with
    one shared covariance in a line of clusters, plain EM from several starts did better in our trials.

    Parameters
    ----------
    temperatures : sequence of float
        Falling, all above 1; the last run is at 1.

    Raises
    ------
    InputError
        If the temperatures do not fall, or one is not above 1.

    References
    ----------
    Ueda and Nakano, Deterministic annealing EM algorithm, Neural Networks 11 (1998).

    Examples
    --------
    >>> import kalman_em as kem
    >>> flows = kem.datasets.load("nile")["flow"]
    >>> fitted = kem.fit(kem.GaussianMixture(2), flows, method=kem.Annealed(temperatures=(2.0, 1.5)))
    >>> fitted.em.stop_reason.is_converged, fitted.em.detail
    (True, 'annealed from temperature 2 in 26 iterations')
    """

    temperatures: tuple[float, ...] = field(default=(3.0, 2.0, 1.5, 1.2))

    def __post_init__(self) -> None:
        values = tuple(as_floats(self.temperatures, "temperatures").ravel().tolist())
        if not values or values[-1] <= 1.0 or any(after >= before for before, after in pairwise(values)):
            raise InputError(f"temperatures: expected falling numbers above 1, got {self.temperatures!r}")
        object.__setattr__(self, "temperatures", values)

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
        """Return the last run, at temperature 1."""
        del rng
        few = replace(stopping, max_iterations=min(STEPS_A_TEMPERATURE, stopping.max_iterations))
        n_before = 0
        for temperature in self.temperatures:
            warm = run_em(_tempering(problem).tempered(temperature), start, stopping=few)
            start, n_before = warm.params, n_before + warm.n_iterations
        last = run_em(problem, start, stopping=stopping, callback=callback, record_bound=record_bound)
        note = f"annealed from temperature {self.temperatures[0]:g} in {n_before} iterations"
        return replace(last, detail="; ".join(filter(None, [last.detail, note])))


@dataclass(frozen=True)
class Incremental:
    """Incremental EM: an M-step after the E-step of every part of the data, the others' expectations as they were.

    For mixtures, whose rows are the parts, and, over a panel, whose series are, for models with regimes and state
    spaces whose parameters are the same at all times.

    Guarantees: the lower bound rises with every part, and so the log-likelihood never falls from one pass to the next;
    it ends at a maximum as EM does. An iteration is one pass over the parts, with an E-step more to begin the next
    from: twice the time of one of EM, for the progress of several.

    Parameters
    ----------
    n_parts : int
        Number of parts that rows (or series) are divided into, at random.

    Raises
    ------
    InputError
        If `n_parts` is below 2.

    References
    ----------
    Neal and Hinton, A view of the EM algorithm that justifies incremental, sparse, and other variants, in Learning in
    Graphical Models (1998), section 4.

    Examples
    --------
    >>> import kalman_em as kem
    >>> flows = kem.datasets.load("nile")["flow"]
    >>> whole, parts = (kem.fit(kem.GaussianMixture(2), flows, method=m) for m in ("em", kem.Incremental(5)))
    >>> parts.em.n_iterations < whole.em.n_iterations, abs(parts.log_likelihood - whole.log_likelihood) < 1e-6
    (True, True)
    """

    n_parts: int = 10

    def __post_init__(self) -> None:
        object.__setattr__(self, "n_parts", as_count(self.n_parts, "n_parts", at_least=2))

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
        """Return the run; no bound is kept, as that of a pass is made of those of its parts."""
        del record_bound
        whole = dividing(problem)
        parts = whole.divided(min(self.n_parts, whole.n_units), rng)
        return run_em(_InParts(whole, tuple(parts)), start, stopping=stopping, callback=callback)


@dataclass(frozen=True, eq=False)
class _InParts:
    """A problem whose M-step is a pass: each part's expectations anew, and the M-step of all after it."""

    whole: Divides[Any, Any]
    parts: tuple[EMProblem[Any, Any], ...]

    def e_step(self, params: Any) -> tuple[tuple[Any, ...], float]:
        found = [part.e_step(params) for part in self.parts]
        height = float(sum(height for _, height in found)) + self.whole.beside_parts(params)
        return tuple(expectations for expectations, _ in found), height

    def m_step(self, params: Any, expectations: tuple[Any, ...]) -> Any:
        latest = list(expectations)
        params = self._raised(params, latest)
        # All but the last: after that the loop makes the expectations of all parts anew.
        for position, part in enumerate(self.parts[:-1]):
            latest[position], _ = part.e_step(params)
            params = self._raised(params, latest)
        return params

    def _raised(self, params: Any, expectations: list[Any]) -> Any:
        return self.whole.m_step(params, self.whole.pooled([(1.0, one) for one in expectations]))


def _tempering(problem: Any) -> Tempers[Any, Any]:
    if not isinstance(problem, Tempers):
        raise InputError(
            "method: hard and annealed EM need an E-step that can be tempered, as mixtures, hidden Markov models and "
            "Markov autoregressions have; for this model expected 'em'"
        )
    return problem


def dividing(problem: Any) -> Divides[Any, Any]:
    """Return `problem` if its data fall into parts; `InputError` otherwise."""
    if not isinstance(problem, Divides):
        raise InputError(
            "method: incremental and stochastic EM need data that fall into independent parts, as rows of mixtures and "
            "series of hidden Markov models and state spaces do; for this model expected 'em'"
        )
    if problem.n_units < 2:
        raise InputError("method: expected data of at least two independent parts (rows or series), got one")
    return problem
