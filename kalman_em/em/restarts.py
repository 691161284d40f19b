"""EM from several starts, for objectives with several maxima."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Protocol, cast

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
RUNAWAY = (
    StopReason.degenerate_covariance,
    StopReason.unobservable_start,
    StopReason.empty_component,
    StopReason.objective_fell,
)


def run_starts(
    problem: EMProblem[Params, Expectations],
    starts: Iterable[Params],
    *,
    stopping: Stopping = DEFAULT_STOPPING,
    callback: Callback[Params] | None = None,
    progress: bool = False,
    record_bound: bool = False,
    climb: Climb[Params, Expectations] = run_em,
    trial_iterations: int | None = None,
) -> tuple[EMResult[Params], tuple[EMResult[Params] | NumericalError, ...]]:
    """Run EM from each start; return the best run, and the outcome of every start.

    The best run is the one with the highest log-likelihood. Runs that ended with a degenerate covariance or an
    unobservable start come after all others, as there the likelihood can grow without bound, so its height says
    nothing (Bishop 2006, *Pattern Recognition and Machine Learning*, section 9.2.1); so do those that lost a component,
    and those whose objective fell: its height there is one of lost digits.

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
    trial_iterations : int, optional
        If given, every start is tried with so many iterations at first, and the one that then stands highest runs again
        from its start to the end; the next one, if that run ends where its height says nothing. It costs a part of what
        whole runs cost, and may miss a start that climbs late. None lets every start run to the end.

    Returns
    -------
    best : EMResult
        With the log-likelihood reached from each start in `start_log_likelihoods`.
    outcomes : tuple of EMResult or NumericalError
        One entry a start: its run, or the error if its objective could not be computed; the trial of a start that
        went no further. After Ctrl-C, which ends all runs, only as many as were begun.

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
    check_trial_iterations(trial_iterations)
    until = stopping
    if trial_iterations is not None and len(waiting) > 1:
        until = replace(stopping, max_iterations=min(int(trial_iterations), stopping.max_iterations))
    outcomes: list[EMResult[Params] | NumericalError] = []
    n_begun = 0

    def attempt(start: Params, until: Stopping) -> EMResult[Params] | NumericalError:
        try:
            return climb(problem, start, stopping=until, callback=callback, record_bound=record_bound)
        except NumericalError as error:
            return error

    try:
        with progress_bar(len(waiting), "EM starts", "start", shown=progress) as bar:
            for start in waiting:
                outcomes.append(attempt(start, until))
                n_begun += 1
                if bar is not None:
                    bar.update()
                if _was_interrupted(outcomes[-1]):
                    return _best(outcomes, _interrupted_after(n_begun, len(waiting))), tuple(outcomes)
            for i in _most_promising(outcomes) if until != stopping else []:
                outcomes[i] = attempt(waiting[i], stopping)
                if _says_its_height(outcomes[i]) or _was_interrupted(outcomes[i]):
                    break
    except (KeyboardInterrupt, SystemError) as error:
        if not is_interrupt(error) or not any(isinstance(outcome, EMResult) for outcome in outcomes):
            raise
        return _best(outcomes, _interrupted_after(n_begun, len(waiting))), tuple(outcomes)
    return _best(outcomes), tuple(outcomes)


def check_trial_iterations(trial_iterations: object) -> None:
    """Raise `InputError` unless it is a whole number of at least 1 or None."""
    if trial_iterations is None:
        return
    is_whole = isinstance(trial_iterations, int | np.integer) and not isinstance(trial_iterations, bool)
    if not is_whole or int(cast(int, trial_iterations)) < 1:
        raise InputError(f"trial_iterations: expected a whole number of at least 1 or None, got {trial_iterations!r}")


def _interrupted_after(n_begun: int, n_starts: int) -> str:
    return f"interrupted after {n_begun} of {n_starts} starts"


def _most_promising(trials: Sequence[EMResult[Params] | NumericalError]) -> list[int]:
    """Return the positions of the trials that did not fail, the highest first, those that ran away last."""
    runs = [(i, one) for i, one in enumerate(trials) if isinstance(one, EMResult)]
    return [i for i, _ in sorted(runs, key=lambda pair: _rank(pair[1]), reverse=True)]


def _says_its_height(outcome: EMResult[Params] | NumericalError) -> bool:
    return isinstance(outcome, EMResult) and outcome.stop_reason not in RUNAWAY


def _rank(run: EMResult[Params]) -> tuple[bool, float]:
    return _says_its_height(run), run.log_likelihood


def _was_interrupted(outcome: EMResult[Params] | NumericalError) -> bool:
    return isinstance(outcome, EMResult) and outcome.stop_reason is StopReason.interrupted


def _best(outcomes: Sequence[EMResult[Params] | NumericalError], note: str = "") -> EMResult[Params]:
    runs = [outcome for outcome in outcomes if isinstance(outcome, EMResult)]
    if not runs:
        raise NumericalError(f"starts: all {len(outcomes)} failed, the first with: {outcomes[0]}")
    best = max(runs, key=_rank)
    reached = [outcome.log_likelihood if isinstance(outcome, EMResult) else np.nan for outcome in outcomes]
    detail = "; ".join(filter(None, [best.detail, note]))
    return replace(best, detail=detail, start_log_likelihoods=np.array(reached))
