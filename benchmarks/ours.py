"""This package as the benchmark calls it: the one file to change when its entry points move.

Every function returns a callable that does the work once; what is made before that call is not timed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

import kalman_em as kem
from benchmarks.cases import Array, Case
from benchmarks.sides import Outcome
from kalman_em.fitting.together import chunks_of
from kalman_em.inference.filtering import log_likelihood_of
from kalman_em.inference.rows import lay, stack_rows
from kalman_em.inference.stacks import StackedRows, SystemStack, expect_stack, stacked
from kalman_em.models.leading import rows_of
from kalman_em.models.problem import LinearGaussianProblem
from kalman_em.models.scale import data_scale
from kalman_em.models.stacked_m_step import StackedMStep
from kalman_em.threads import shared_out

# Arguments for the variants "full" and "frozen": none, for the package freezes by itself what has converged, and the
# same run stands beside both references.
FREEZING: Mapping[str, Mapping[str, Any]] = {"full": {}, "frozen": {}}
# The arrays of a filter that are compared with the reference's.
FILTERED = ("filtered_means", "filtered_covs")
# Whether a panel of independent parameters runs on more than one thread.
HAS_THREADS = True


def n_threads() -> int:
    """Return the number of threads that this side may use: `benchmarks.timing` says so in the environment."""
    return int(os.environ.get("NUMBA_NUM_THREADS", "1"))


INCLUDES = {
    "log_likelihood": "laying the system over the rows, the filter, all Python around it; "
    "not the reading of the data (once a fit)",
    "filter": "the public `kalman_filter(system, observations)`: checks, missing patterns, means, covariances laid "
    "out over the rows, innovations",
    "smooth": "the public `rts_smoother(system, kalman_filter(system, observations))`: checks, all arrays "
    "of the smoother laid out over the rows",
    "em": "`e_step` and `m_step` of the EM problem, with their arrays and all Python around them; "
    "not the loop's stopping rules, not the reading of the data (once a fit)",
}


def prepared(case: Case, kind: str, variant: str) -> Callable[[], Outcome]:
    """Return the callable for one kind of work."""
    options = FREEZING[variant.removesuffix("-fresh")]
    if kind == "em":
        return _em_panel(case) if len(case.values) > 1 else _em(case, options)
    return {"log_likelihood": _log_likelihood, "filter": _filter, "smooth": _smooth}[kind](case, options)


def e_step(case: Case) -> Callable[[], object]:
    """Return one E-step, without an M-step: what the memory of a fit is made of."""
    problem, start = _problem(case, case.values[0]), _system(case)
    return lambda: problem.e_step(start)


def _system(case: Case) -> kem.LinearGaussianSystem:
    start = case.start
    return kem.LinearGaussianSystem(
        transition_matrix=start.F,
        transition_cov=start.Q,
        observation_matrix=start.H,
        observation_cov=start.R,
        initial_mean=start.m,
        initial_cov=start.P,
    )


def _problem(case: Case, values: Array) -> LinearGaussianProblem:
    model = kem.LinearGaussian(
        case.start.state_dim,
        case.start.obs_dim,
        observation_cov=kem.Diagonal() if case.is_diagonal else kem.Full(),
        initial_mean=kem.Full(),
        initial_cov=kem.Full(),
        initial_step="first",
    )
    panel = kem.Panel([kem.Observations(values)])
    specification = model.specify(panel)
    return LinearGaussianProblem(specification, rows_of(panel, specification), data_scale(panel))


def _log_likelihood(case: Case, options: Mapping[str, Any]) -> Callable[[], Outcome]:
    system, rows = _system(case), _problem(case, case.values[0]).rows

    def run() -> Outcome:
        return Outcome(log_likelihood_of(lay(system, rows), rows, **options))

    return run


def _filter(case: Case, options: Mapping[str, Any]) -> Callable[[], Outcome]:
    system, observations = _system(case), kem.Observations(case.values[0])

    def run() -> Outcome:
        filtered = kem.kalman_filter(system, observations, **options)
        # Covariances that rows share are laid out when asked for: asked for here, so that the time holds it.
        arrays = {name: getattr(filtered, name) for name in (*FILTERED, "predicted_means", "predicted_covs")}
        checks = {name: arrays[name] for name in FILTERED}
        return Outcome(filtered.log_likelihood, lambda: {name: rows.sum(axis=0) for name, rows in checks.items()})

    return run


def _smooth(case: Case, options: Mapping[str, Any]) -> Callable[[], Outcome]:
    system, observations = _system(case), kem.Observations(case.values[0])

    def run() -> Outcome:
        filtered = kem.kalman_filter(system, observations, **options)
        smoothed = kem.rts_smoother(system, filtered)
        checks = {name: getattr(smoothed, name) for name in ("smoothed_means", "smoothed_covs", "lag_one_covs")}
        return Outcome(filtered.log_likelihood, lambda: {name: rows.sum(axis=0) for name, rows in checks.items()})

    return run


def _em(case: Case, options: Mapping[str, Any]) -> Callable[[], Outcome]:
    return _em_loop([_problem(case, case.values[0])], _system(case), case.is_diagonal, options)


def _em_panel(case: Case) -> Callable[[], Outcome]:
    """Return one EM iteration for each series on its own, in the chunks and on the threads of `fit_each`."""
    start, specification = _system(case), _problem(case, case.values[0]).specification
    step = StackedMStep.of(specification, moves_mean=False)
    chunks = []
    for chunk in chunks_of(len(case.values)):
        rows = stack_rows([kem.Observations(case.values[k]) for k in chunk])
        chunks.append((StackedRows.of(rows), stacked([start] * len(chunk))))

    def iterate(chunk: tuple[StackedRows, SystemStack]) -> tuple[float, SystemStack]:
        over, params = chunk
        expectations = expect_stack(params, over, watched=True)
        return float(expectations.log_likelihoods.sum()), step(params, expectations, over)

    def run() -> Outcome:
        found = list(shared_out(iterate, chunks, n_threads()))
        total = sum(log_likelihood for log_likelihood, _ in found)
        return Outcome(total, lambda: _parameters([p[k] for _, p in found for k in range(len(p))], case.is_diagonal))

    return run


def _em_loop(
    problems: list[LinearGaussianProblem],
    start: kem.LinearGaussianSystem,
    is_diagonal: bool,
    options: Mapping[str, Any],
) -> Callable[[], Outcome]:
    def run() -> Outcome:
        total, learnt = 0.0, []
        for problem in problems:
            expectations, log_likelihood = problem.e_step(start, **options)
            learnt.append(problem.m_step(start, expectations))
            total += log_likelihood
        return Outcome(total, lambda: _parameters(learnt, is_diagonal))

    return run


def _parameters(learnt: list[kem.LinearGaussianSystem], is_diagonal: bool) -> dict[str, Array]:
    names = {
        "F": "transition_matrix",
        "H": "observation_matrix",
        "Q": "transition_cov",
        "R": "observation_cov",
        "m": "initial_mean",
        "P": "initial_cov",
    }
    means = {letter: np.mean([getattr(one, name) for one in learnt], axis=0) for letter, name in names.items()}
    return means | {"R": np.diagonal(means["R"])} if is_diagonal else means
