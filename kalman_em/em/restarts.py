"""EM from several starts, for objectives with several maxima."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Protocol

import numpy as np

from kalman_em.em.bar import progress_bar
from kalman_em.em.loop import run_em
from kalman_em.em.problem import EMProblem, Expectations, Params
from kalman_em.em.result import Callback, EMResult
from kalman_em.em.stopping import DEFAULT_STOPPING, Stopping, StopReason
from kalman_em.errors import InputError, NumericalError, is_interrupt


class Climb(Protocol[Params, Expectations]):
    """`run_em` or a variant of it."""

    def __call__(
        self,
        problem: EMProblem[Params, Expectations],
        start: Params,
        *,
        stopping: Stopping = ...,
        callback: Callback[Params] | None = ...,
        record_bound: bool = ...,
    ) -> EMResult[Params]:
        """Return how the run from `start` ended."""
        ...


# Ends at which the height of the log-likelihood says nothing, or a part of the model has gone.
RUNAWAY = (StopReason.degenerate_covariance, StopReason.unobservable_start, StopReason.empty_component)


def run_starts(
    problem: EMProblem[Params, Expectations],
    starts: Iterable[Params],
    *,
    stopping: Stopping = DEFAULT_STOPPING,
    callback: Callback[Params] | None = None,
    progress: bool = False,
    record_bound: bool = False,
    climb: Climb[Params, Expectations] = run_em,
) -> tuple[EMResult[Params], tuple[EMResult[Params] | NumericalError, ...]]:
    """Run EM from each start; return the best run, and the outcome of every start.

    The best run is the one with the highest log-likelihood. Runs that ended with a degenerate covariance or an
    unobservable start come after all others, as there the likelihood can grow without bound, so its height says
    nothing (Bishop 2006, *Pattern Recognition and Machine Learning*, section 9.2.1); so do those that lost a component.

    Parameters
    ----------
    problem, stopping, callback, record_bound
        As for `run_em`; the callback sees the iterations of one start after the other, each from 1.
    starts : iterable
        The first parameters of each run.
    progress : bool
        Show a bar over the starts on stderr.
    climb : callable
        What runs from each start, in the place of `run_em`, with its arguments: a variant of EM.

    Returns
    -------
    best : EMResult
        With the log-likelihood reached from each start in `start_log_likelihoods`.
    outcomes : tuple of EMResult or NumericalError
        One entry a start: its run, or the error if its objective could not be computed. After Ctrl-C, which
        ends all runs, only as many as were begun.

    Raises
    ------
    InputError
        If there are no starts, or an argument is one that `run_em` refuses.
    NumericalError
        If every start failed; the message is that of the first.

    Examples
    --------
    >>> class Valley:                                        # maxima at -1 and, higher, at 2
    ...     def e_step(self, x):
    ...         target = 2.0 if x > 0 else -1.0
    ...         return target, target - (x - target) ** 2
    ...     def m_step(self, x, target):
    ...         return target + 0.5 * (x - target)
    >>> best, outcomes = run_starts(Valley(), [-3.0, 5.0])
    >>> round(best.params, 3), [round(run.params, 3) for run in outcomes]
    (2.0, [-1.0, 2.0])
    """
    if not isinstance(starts, Iterable):
        raise InputError(f"starts: expected several starts, such as a list of them, got {type(starts).__name__}")
    waiting = list(starts)
    if not waiting:
        raise InputError("starts: expected at least one start, got none")
    outcomes: list[EMResult[Params] | NumericalError] = []
    try:
        with progress_bar(len(waiting), "EM starts", "start", shown=progress) as bar:
            for start in waiting:
                outcomes.append(_attempt(climb, problem, start, stopping, callback, record_bound))
                if bar is not None:
                    bar.update()
                if _was_interrupted(outcomes[-1]):
                    break
    except (KeyboardInterrupt, SystemError) as error:
        if not is_interrupt(error) or not any(isinstance(outcome, EMResult) for outcome in outcomes):
            raise
    return _best(outcomes, len(waiting)), tuple(outcomes)


def _attempt(
    climb: Climb[Params, Expectations],
    problem: EMProblem[Params, Expectations],
    start: Params,
    stopping: Stopping,
    callback: Callback[Params] | None,
    record_bound: bool,
) -> EMResult[Params] | NumericalError:
    try:
        return climb(problem, start, stopping=stopping, callback=callback, record_bound=record_bound)
    except NumericalError as error:
        return error


def _was_interrupted(outcome: EMResult[Params] | NumericalError) -> bool:
    return isinstance(outcome, EMResult) and outcome.stop_reason is StopReason.interrupted


def _best(outcomes: list[EMResult[Params] | NumericalError], n_starts: int) -> EMResult[Params]:
    runs = [outcome for outcome in outcomes if isinstance(outcome, EMResult)]
    if not runs:
        raise NumericalError(f"starts: all {n_starts} failed, the first with: {outcomes[0]}")
    best = max(runs, key=lambda run: (not _is_degenerate(run), run.log_likelihood))
    reached = [outcome.log_likelihood if isinstance(outcome, EMResult) else np.nan for outcome in outcomes]
    detail = best.detail
    if len(outcomes) < n_starts or _was_interrupted(outcomes[-1]):
        detail = "; ".join(filter(None, [detail, f"interrupted after {len(outcomes)} of {n_starts} starts"]))
    return replace(best, detail=detail, start_log_likelihoods=np.array(reached))


def _is_degenerate(run: EMResult[Params]) -> bool:
    return run.stop_reason in RUNAWAY
