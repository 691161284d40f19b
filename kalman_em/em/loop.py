"""The EM loop: every model, and every variant of EM, goes round here and nowhere else."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, MutableMapping, MutableSequence, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, cast

import numpy as np

from kalman_em.em.bar import progress_bar
from kalman_em.em.bound import ExpectsGain
from kalman_em.em.change import relative_change
from kalman_em.em.history import History
from kalman_em.em.problem import (
    Climbs,
    Doubts,
    EMProblem,
    ExaminesEnd,
    ExaminesExpectations,
    ExaminesParams,
    Expectations,
    Leaps,
    MeasuresChange,
    Params,
    Switches,
    told,
)
from kalman_em.em.result import EMIteration, EMResult
from kalman_em.em.stopping import DEFAULT_STOPPING, STEP_ROUNDING, EMStop, Stopping, StopReason
from kalman_em.errors import InputError, NumericalError, is_interrupt

# A climb that is not over after this many iterations is slow: from then on a problem that can is asked for
# leaps, every so many iterations, so that the rate of the plain steps can be read off in between.
LEAP_AFTER = 500
LEAP_EVERY = 10
# A climb with leaps is over when so many iterations gained next to nothing.
CALM = 50
TRAIL = 8
# A leap found at the end of a climb that raises the log-likelihood by more than this says that it was no end.
WORTH_A_LEAP = 1e-6

Callback = Callable[[EMIteration[Params]], object]


@dataclass(frozen=True, eq=False)
class EMState(Generic[Params, Expectations]):
    """Parameters with the expectations and the objective at them, and at no others."""

    params: Params
    expectations: Expectations
    log_likelihood: float


def run_em(
    problem: EMProblem[Params, Expectations],
    start: Params,
    *,
    stopping: Stopping = DEFAULT_STOPPING,
    callback: Callback[Params] | None = None,
    progress: bool = False,
    record_bound: bool = False,
) -> EMResult[Params]:
    """Climb from `start` by expectation-maximisation until `stopping` says that nothing is left to gain.

    Parameters
    ----------
    problem : EMProblem
        Anything with the methods ``e_step(params) -> (expectations, log_likelihood)`` and
        ``m_step(params, expectations) -> params``; optionally `parameter_change` and `examine`.
    start : object
        The first parameters.
    stopping : Stopping
        How many iterations, and how near to the limit.
    callback : callable, optional
        Called with an `EMIteration` after each iteration; what it raises is passed on.
    progress : bool
        Show a bar on stderr.
    record_bound : bool
        Keep the lower bound that each M-step raised, as `EMResult.bound_history`; the problem must then have a method
        `expected_gain` (see `kalman_em.em.bound`).

    Returns
    -------
    EMResult
        The best parameters of the run, the objective at exactly those, the whole history, and why it ended.
        The run also ends, with its best parameters, when the objective falls by more than rounding
        (1e-9 of 1 + |objective|), when it or the parameters are no longer finite or cannot be computed, when
        the problem's `examine` says so, and on Ctrl-C.

    Raises
    ------
    InputError
        If an argument or what the problem returns is not of the kind expected.
    NumericalError
        If the objective at `start` is not finite, or cannot be computed.
    KeyboardInterrupt
        If it comes before the start has been evaluated: there is nothing to return yet.

    Notes
    -----
    If the problem offers `leaps`, a climb that is not over after 500 iterations tries them every 10 iterations, and
    every climb once where it would end; it takes one only if the objective there is not lower: the ascent stays
    monotone, and the limit is the same.

    Each iteration is an M-step and then an E-step at the new parameters (Dempster, Laird & Rubin 1977), so
    the objective that convergence was judged by belongs to the parameters returned.

    Examples
    --------
    Lifetimes of lamps: three burnt out after 2, 4 and 6 months, two still burn after 8. The mean lifetime is
    then all months over the number burnt out, 28/3; EM fills in the unseen lifetimes, 8 + mean each.

    >>> import math
    >>> class Lamps:
    ...     def e_step(self, mean):
    ...         return 2.0 + 4.0 + 6.0 + 2 * (8.0 + mean), -3 * math.log(mean) - 28.0 / mean
    ...     def m_step(self, mean, total_lifetime):
    ...         return total_lifetime / 5
    >>> result = run_em(Lamps(), start=1.0)
    >>> round(result.params, 3), result.n_iterations, result.stop_reason.is_converged
    (9.333, 13, True)
    >>> print(result)
    converged after 13 iterations, log-likelihood -9.7007767.
    """
    _check_arguments(problem, stopping, callback, record_bound)
    with progress_bar(stopping.max_iterations, "EM", "iteration", shown=progress) as bar:
        try:
            state = evaluate(problem, start)
        except NumericalError as error:
            raise NumericalError(f"start: the E-step failed there: {error}") from error
        history = History(state.params, state.log_likelihood, with_bound=record_bound)
        try:
            reason, detail = _climb(problem, state, history, stopping, callback, bar)
        except (KeyboardInterrupt, SystemError) as error:
            if not is_interrupt(error):
                raise
            reason, detail = StopReason.interrupted, ""
    return history.result(reason, detail)


def em_step(
    problem: EMProblem[Params, Expectations], state: EMState[Params, Expectations]
) -> tuple[EMState[Params, Expectations], float]:
    """Return the state after one M-step and the E-step at its result, and the change of the parameters.

    Raises
    ------
    InputError
        If the M-step returned the array, list or mapping it was given, or parameters of another structure.
    NumericalError
        If the parameters or the objective are not finite.
    """
    params = problem.m_step(state.params, state.expectations)
    # Parameters written to in place would look converged, and the best would be lost with them.
    if params is state.params and isinstance(params, np.ndarray | MutableMapping | MutableSequence):
        raise InputError(f"m_step: expected new parameters, got the {type(params).__name__} that it was given")
    change = change_between(problem, state.params, params)
    if math.isnan(change):
        raise NumericalError("the M-step gave parameters that are not finite")
    return evaluate(problem, params), change


def change_between(problem: object, old: Params, new: Params) -> float:
    """Return how far parameters moved, as the problem measures it or relative to their size."""
    if isinstance(problem, MeasuresChange):
        return float(problem.parameter_change(old, new))
    return relative_change(old, new)


def evaluate(problem: EMProblem[Params, Expectations], params: Params) -> EMState[Params, Expectations]:
    """Return the state at `params`: one E-step.

    Raises
    ------
    InputError
        If the E-step does not return a pair whose second entry is a real number.
    NumericalError
        If the objective is not finite.
    """
    outcome = problem.e_step(params)
    if not isinstance(outcome, tuple) or len(outcome) != 2:
        raise InputError(f"e_step: expected a pair (expectations, log-likelihood), got {type(outcome).__name__}")
    expectations, objective = outcome
    value = np.asarray(objective)
    if value.ndim != 0 or value.dtype.kind not in "fiu":
        raise InputError(f"e_step: expected a real number as log-likelihood, got {type(objective).__name__}")
    log_likelihood = float(value)
    if not math.isfinite(log_likelihood):
        raise NumericalError(f"the objective is {log_likelihood}, not a finite number")
    return EMState(params, expectations, log_likelihood)


def climb_on(
    problem: EMProblem[Params, Expectations],
    history: History[Params],
    trail: Sequence[Params],
    *,
    stopping: Stopping = DEFAULT_STOPPING,
    is_at_end: bool = False,
) -> EMResult[Params]:
    """Go on with a run of `run_em` that stands at the last parameters of `trail`, with `history` so far.

    Parameters
    ----------
    is_at_end : bool
        Whether the run has met its `stopping`, so that only the leaps tried there are left.
    """
    state = evaluate(problem, trail[-1])
    has_leapt, notes = False, []
    if is_at_end:
        leapt, said = _leap(problem, state, tuple(trail)) if isinstance(problem, Leaps) else (state, [])
        if leapt.log_likelihood - state.log_likelihood <= WORTH_A_LEAP:
            return history.result(StopReason.converged)
        state, has_leapt, notes = leapt, True, said
        history.amend(state.params, state.log_likelihood)
        trail = [state.params]
    reason, detail = _climb(problem, state, history, stopping, None, None, trail, has_leapt, notes)
    return history.result(reason, detail)


def _climb(
    problem: EMProblem[Params, Expectations],
    state: EMState[Params, Expectations],
    history: History[Params],
    stopping: Stopping,
    callback: Callback[Params] | None,
    bar: Any,
    led_by: Sequence[Params] = (),
    has_leapt: bool = False,
    said_before: Sequence[str] = (),
) -> tuple[StopReason, str]:
    """Iterate from `state`, writing to `history`, until there is a reason to stop; return it, with detail.

    `led_by` are the parameters that led to `state`, its own the last, if the run did not begin there.
    """
    trail: deque[Params] = deque(led_by or [state.params], maxlen=TRAIL)
    notes = list(said_before)
    last_climb = 0
    # Asked once: a check of a protocol takes as long as a small step.
    can_leap, can_climb = isinstance(problem, Leaps), isinstance(problem, Climbs)
    can_switch, has_switched = isinstance(problem, Switches), False
    if can_switch:
        problem, state = _settled(problem, state, state, history, notes)
    while True:
        previous = state
        try:
            state, change = em_step(problem, state)
        except NumericalError as error:
            notes.append(f"iteration {history.n_iterations + 1}: {error}")
            return error.reason if isinstance(error, EMStop) else StopReason.non_finite, told(notes)
        trail.append(state.params)
        n_iterations = history.n_iterations + 1
        if can_leap and n_iterations > LEAP_AFTER and n_iterations % LEAP_EVERY == 0:
            leapt, said = _leap(problem, state, tuple(trail))
            if leapt is not state:
                state = leapt
                trail, has_leapt = deque([state.params], maxlen=TRAIL), True
                notes += said
        if can_climb and n_iterations >= max(2 * last_climb, cast(Climbs[Params], problem).climb_after):
            last_climb = n_iterations
            state, before = _climbed(problem, state), state
            if state is not before:
                trail, has_leapt = deque([state.params], maxlen=TRAIL), True
        if can_switch:
            used, (problem, previous) = problem, _settled(problem, state, previous, history, notes)
            # The step that led to `state` was taken in the old way, and need not be one up.
            has_switched = problem is not used
        if history.is_fall(state.log_likelihood):
            found = _reconsidered(problem, previous, history, notes, is_new=has_switched)
            if found is not None:
                problem, previous, state, change = found
                trail[-1] = state.params
            elif history.switched_at is not None and (ended := _examined(problem, state)) is not None:
                # Where the likelihood runs away, more digits or not, the fall is a symptom: it ends before it.
                return ended, told(notes)
        history.record(state.params, state.log_likelihood, change, _bound(problem, previous, state, history))
        reason = _reason_to_stop(problem, state, history, stopping)
        if reason is StopReason.converged and has_leapt and not _is_calm(history, stopping):
            reason = None if n_iterations < stopping.max_iterations else StopReason.max_iterations
        if reason is StopReason.converged and can_leap and n_iterations < stopping.max_iterations:
            leapt, said = _leap(problem, state, tuple(trail))
            if can_climb and n_iterations > LEAP_AFTER:
                leapt = _climbed(problem, leapt)
            if leapt.log_likelihood - state.log_likelihood > WORTH_A_LEAP:
                state, reason = leapt, None
                history.amend(state.params, state.log_likelihood, _bound(problem, previous, state, history))
                trail, has_leapt = deque([state.params], maxlen=TRAIL), True
                notes += said
        if reason is StopReason.converged and isinstance(problem, ExaminesEnd):
            named = problem.examine_end(state.params)
            if named is not None:
                reason = named[0]
                notes.append(named[1])
        if bar is not None:
            bar.set_postfix_str(f"log-likelihood {state.log_likelihood:.8g}", refresh=False)
            bar.update()
        if callback is not None:
            callback(em_event(history, state, previous))
        if reason is not None:
            return reason, told(notes)


def _bound(
    problem: EMProblem[Params, Expectations],
    previous: EMState[Params, Expectations],
    state: EMState[Params, Expectations],
    history: History[Params],
) -> float:
    """Return the lower bound that the E-step of `previous` gives at the parameters of `state`, if it is kept."""
    if not history.with_bound:
        return math.nan
    gain = cast(ExpectsGain[Params, Expectations], problem).expected_gain(
        previous.params, state.params, previous.expectations
    )
    return previous.log_likelihood + float(gain)


def _settled(
    problem: EMProblem[Params, Expectations],
    state: EMState[Params, Expectations],
    previous: EMState[Params, Expectations],
    history: History[Params],
    notes: list[str],
) -> tuple[EMProblem[Params, Expectations], EMState[Params, Expectations]]:
    """Return the problem to go on with from `state`, and `previous` computed alike: see `Switches`."""
    found = cast(Switches[Expectations], problem).switched(state.expectations)
    if found is None:
        return problem, previous
    problem, what = found
    # Where only the old way gives an objective, what is compared next is not computed alike.
    with suppress(NumericalError):
        previous = evaluate(problem, previous.params)
    history.restate(previous.log_likelihood)
    notes.append(_since(what, history))
    return problem, previous


def _reconsidered(
    problem: EMProblem[Params, Expectations],
    previous: EMState[Params, Expectations],
    history: History[Params],
    notes: list[str],
    *,
    is_new: bool,
) -> tuple[EMProblem[Params, Expectations], EMState[Params, Expectations], EMState[Params, Expectations], float] | None:
    """Return the step from `previous` that seemed to fall, taken anew, between its problem and state and the change.

    If the problem `is_new` it is taken with that, else with the one that it offers (`Doubts`); None if there is none.
    """
    found = (problem, "") if is_new else problem.doubted() if isinstance(problem, Doubts) else None
    if found is None:
        return None
    other, what = found
    try:
        before = previous if is_new else evaluate(other, previous.params)
        after, change = em_step(other, before)
    except NumericalError:
        return None
    if not is_new:
        history.restate(before.log_likelihood)
        notes.append(_since(what, history))
    return other, before, after, change


def _since(what: str, history: History[Params]) -> str:
    return f"{what} from {f'iteration {history.n_iterations}' if history.n_iterations else 'the start'} on"


def _leap(
    problem: EMProblem[Params, Expectations], state: EMState[Params, Expectations], trail: tuple[Params, ...]
) -> tuple[EMState[Params, Expectations], list[str]]:
    """Return the state after the leaps that do not lower the objective, and what they had to say."""
    said = []
    assert isinstance(problem, Leaps)
    for params, note in problem.leaps(trail):
        try:
            candidate = evaluate(problem, params)
        except NumericalError:
            continue
        if candidate.log_likelihood >= state.log_likelihood - STEP_ROUNDING * (1.0 + abs(state.log_likelihood)):
            state = candidate
            said += [note] if note else []
    return state, said


def _climbed(
    problem: EMProblem[Params, Expectations], state: EMState[Params, Expectations]
) -> EMState[Params, Expectations]:
    """Return the state at the end of the second way up, or `state` itself if that is not lower."""
    assert isinstance(problem, Climbs)
    params = problem.climb(state.params)
    if params is None:
        return state
    try:
        candidate = evaluate(problem, params)
    except NumericalError:
        return state
    return candidate if candidate.log_likelihood > state.log_likelihood else state


def _examined(problem: EMProblem[Params, Expectations], state: EMState[Params, Expectations]) -> StopReason | None:
    params, expectations = state.params, state.expectations
    if isinstance(problem, ExaminesExpectations):
        found = problem.examine_expectations(params, expectations)
        if found is not None:
            return StopReason(found)
    if isinstance(problem, ExaminesParams) and (found := problem.examine(params)) is not None:
        return StopReason(found)
    return None


def _reason_to_stop(
    problem: EMProblem[Params, Expectations],
    state: EMState[Params, Expectations],
    history: History[Params],
    stopping: Stopping,
) -> StopReason | None:
    found = _examined(problem, state)
    if found is not None:
        return found
    # Asked after that: where the likelihood runs away its fall is a symptom (still counted in `n_falls`).
    if history.has_fallen:
        return StopReason.objective_fell
    if stopping.is_met(history.log_likelihoods, history.parameter_changes):
        return StopReason.converged
    return StopReason.max_iterations if history.n_iterations >= stopping.max_iterations else None


def _is_calm(history: History[Params], stopping: Stopping) -> bool:
    """Whether the latest iterations together gained no more than may still be to come.

    Asked of climbs with leaps: after each leap fast directions die out, and hide how far a slow one has to go.
    """
    if history.n_iterations <= CALM:
        return False
    latest = history.log_likelihoods[-1]
    ascent = max(latest - history.log_likelihoods[1], 0.0)
    return latest - history.log_likelihoods[-1 - CALM] <= stopping.relative_tolerance * (1.0 + ascent)


def em_event(
    history: History[Params], state: EMState[Params, Expectations], previous: EMState[Params, Expectations]
) -> EMIteration[Params]:
    """Return the latest iteration as a callback receives it."""
    return EMIteration(
        iteration=history.n_iterations,
        params=state.params,
        log_likelihood=state.log_likelihood,
        gain=state.log_likelihood - previous.log_likelihood,
        parameter_change=history.parameter_changes[-1],
    )


def _check_arguments(problem: object, stopping: object, callback: object, record_bound: object = False) -> None:
    if isinstance(problem, type) or not isinstance(problem, EMProblem):
        raise InputError(f"problem: expected an object with methods e_step and m_step, got {problem!r}")
    if not isinstance(stopping, Stopping):
        raise InputError(f"stopping: expected a Stopping, got {stopping!r}")
    if callback is not None and not callable(callback):
        raise InputError(f"callback: expected a function of one EMIteration, got {callback!r}")
    if record_bound and not isinstance(problem, ExpectsGain):
        raise InputError(f"record_bound: expected a problem with a method expected_gain, got {problem!r}")
