"""The climb itself: iteration after iteration, with leaps where it is slow, until there is a reason to stop."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Generic, cast

from kalman_em.em.bound import ExpectsGain
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
    Params,
    Switches,
    TellsOfClimbs,
    told,
)
from kalman_em.em.steps import EMState, em_step, evaluate
from kalman_em.em.stopping import STEP_ROUNDING, EMStop, Stopping, StopReason
from kalman_em.errors import NumericalError

# A climb that is not over after this many iterations is slow: from then on a problem that can is asked for
# leaps, every so many iterations, so that the rate of the plain steps can be read off in between.
LEAP_AFTER = 500
LEAP_EVERY = 10
# A climb with leaps is over when so many iterations gained next to nothing.
CALM = 50
TRAIL = 8
# ... and, where rounding keeps it from convergence, when each of them moved the parameters by no more than this.
AT_REST = 1e-7
# A leap found at the end of a climb that raises the log-likelihood by more than this says that it was no end.
WORTH_A_LEAP = 1e-6

# Told of each iteration: the state that it led to, and the one that it began from.
Watcher = Callable[[EMState[Params, Expectations], EMState[Params, Expectations]], None]


class Ascent(Generic[Params, Expectations]):
    """One run of EM on its way: where it stands and what it has tried; what it reached goes into `history`.

    `trail` holds the latest parameters that plain steps led to, those of `state` the last; a leap begins it anew.
    """

    def __init__(
        self,
        problem: EMProblem[Params, Expectations],
        state: EMState[Params, Expectations],
        history: History[Params],
        stopping: Stopping,
        trail: Sequence[Params] = (),
    ) -> None:
        self._problem = problem
        self._state = self._previous = state
        self._history = history
        self._stopping = stopping
        self._trail = deque(trail or [state.params], maxlen=TRAIL)
        self._has_leapt = False
        self._last_climb = 0
        self._notes: list[str] = []
        # Asked once: a check of a protocol takes as long as a small step.
        self._can_leap, self._can_climb = isinstance(problem, Leaps), isinstance(problem, Climbs)
        self._can_switch = isinstance(problem, Switches)

    def run(self, watcher: Watcher[Params, Expectations] | None = None) -> tuple[StopReason, str]:
        """Iterate until there is a reason to stop; return it, with detail."""
        self._switch()
        self._state = self._previous
        while (reason := self._iterate()) is None:
            reason = self._judged()
            if watcher is not None:
                watcher(self._state, self._previous)
            if reason is not None:
                break
        return reason, told(self._notes)

    def leap_at_end(self) -> bool:
        """Whether what seemed to be the end was none: a leap from there gained, and the run stands where it led."""
        if not self._can_leap:
            return False
        leapt, said = self._leapt()
        if self._can_climb and self._history.n_iterations > LEAP_AFTER:
            leapt, more = self._climbed(leapt)
            said += more
        if leapt.log_likelihood - self._state.log_likelihood <= WORTH_A_LEAP:
            return False
        self._stand(leapt, said)
        self._history.amend(leapt.params, leapt.log_likelihood, self._bound(leapt))
        return True

    def _iterate(self) -> StopReason | None:
        """Take a step and record it; return why the run must end before there is anything to record."""
        self._previous = self._state
        try:
            self._state, change = em_step(self._problem, self._state)
        except NumericalError as error:
            self._notes.append(f"iteration {self._history.n_iterations + 1}: {error}")
            return error.reason if isinstance(error, EMStop) else StopReason.non_finite
        self._trail.append(self._state.params)
        stepped = self._state
        self._hurry()
        # A step that was taken before the switch need not be one up after it.
        is_of_old = self._switch()
        if self._history.is_fall(self._state.log_likelihood):
            found = self._step_anew(is_of_old)
            if found is not None:
                change, stepped = found, self._state
            # Where the likelihood runs away, more digits or not, the fall is a symptom: it ends before it.
            if self._history.is_fall(self._state.log_likelihood) and (ended := self._examined()) is not None:
                return ended
        # The bound is what the M-step raised, whatever leapt on from there.
        self._history.record(self._state.params, self._state.log_likelihood, change, self._bound(stepped))
        return None

    def _judged(self) -> StopReason | None:
        """Return why to stop after the iteration that was recorded, or None to go on."""
        reason = self._reason_to_stop()
        if reason is not StopReason.converged:
            return reason
        if self._history.n_iterations < self._stopping.max_iterations:
            if (self._has_leapt and not self._is_calm()) or self.leap_at_end():
                return None
        elif self._has_leapt and not self._is_calm():
            return StopReason.max_iterations
        return self._named_end()

    def end(self) -> tuple[StopReason, str]:
        """Return how a run ends that has met its criteria and leaps no more, with detail."""
        return self._named_end(), told(self._notes)

    def _named_end(self) -> StopReason:
        named = self._problem.examine_end(self._state.params) if isinstance(self._problem, ExaminesEnd) else None
        if named is None:
            return StopReason.converged
        reason, note = named
        self._notes.append(note)
        return reason

    def _reason_to_stop(self) -> StopReason | None:
        found = self._examined()
        if found is not None:
            return found
        # Asked after that: where the likelihood runs away its fall is a symptom (still counted in `n_falls`).
        if self._history.has_fallen:
            return StopReason.objective_fell
        met = self._stopping.is_met(self._history.log_likelihoods, self._history.parameter_changes)
        if met or self._is_at_rest():
            return StopReason.converged
        return StopReason.max_iterations if self._history.n_iterations >= self._stopping.max_iterations else None

    def _examined(self) -> StopReason | None:
        params, expectations = self._state.params, self._state.expectations
        if isinstance(self._problem, ExaminesExpectations):
            found = self._problem.examine_expectations(params, expectations)
            if found is not None:
                return StopReason(found)
        if isinstance(self._problem, ExaminesParams) and (found := self._problem.examine(params)) is not None:
            return StopReason(found)
        return None

    def _is_calm(self) -> bool:
        """Whether the latest iterations together gained no more than may still be to come.

        Asked of climbs with leaps: after each leap fast directions die out, and hide how far a slow one has to go.
        """
        heights = self._history.log_likelihoods
        if self._history.n_iterations <= CALM:
            return False
        ascent = max(heights[-1] - heights[1], 0.0)
        return heights[-1] - heights[-1 - CALM] <= self._stopping.relative_tolerance * (1.0 + ascent)

    def _is_at_rest(self) -> bool:
        """Whether a long climb with leaps has only moved within rounding for as many iterations as show calm.

        An M-step by steps that gain knows its parameters to the root of the rounding of what it raises, and they
        go to and fro there. Steps that creep one way by so little, at no gain, are along what the data leave open.
        """
        heights, changes = self._history.log_likelihoods, self._history.parameter_changes
        if not self._has_leapt or self._history.n_iterations <= LEAP_AFTER + CALM:
            return False
        gained = heights[-1] - heights[-1 - CALM]
        return max(changes[-CALM:]) <= AT_REST and gained <= STEP_ROUNDING * (1.0 + abs(heights[-1]))

    def _bound(self, state: EMState[Params, Expectations]) -> float:
        """Return the lower bound that the E-step before gives at the parameters of `state`, if it is kept."""
        if not self._history.with_bound:
            return math.nan
        gain = cast(ExpectsGain[Params, Expectations], self._problem).expected_gain(
            self._previous.params, state.params, self._previous.expectations
        )
        return self._previous.log_likelihood + float(gain)

    def _hurry(self) -> None:
        """Try leaps, and the second way up, where the climb has turned out to be slow."""
        n_iterations = self._history.n_iterations + 1
        if self._can_leap and n_iterations > LEAP_AFTER and n_iterations % LEAP_EVERY == 0:
            leapt, said = self._leapt()
            if leapt is not self._state:
                self._stand(leapt, said)
        if self._can_climb and n_iterations >= max(
            2 * self._last_climb, cast(Climbs[Params], self._problem).climb_after
        ):
            self._last_climb = n_iterations
            climbed, told_of = self._climbed(self._state)
            if climbed is not self._state:
                self._stand(climbed, told_of)

    def _stand(self, state: EMState[Params, Expectations], said: Sequence[str] = ()) -> None:
        """Go on from `state`, to which no plain step led."""
        self._state = state
        self._trail = deque([state.params], maxlen=TRAIL)
        self._has_leapt = True
        self._notes += said

    def _leapt(self) -> tuple[EMState[Params, Expectations], list[str]]:
        """Return the state after the leaps that do not lower the objective, and what they had to say."""
        state, said = self._state, []
        for params, note in cast(Leaps[Params], self._problem).leaps(tuple(self._trail)):
            try:
                candidate = evaluate(self._problem, params)
            except NumericalError:
                continue
            if candidate.log_likelihood >= state.log_likelihood - STEP_ROUNDING * (1.0 + abs(state.log_likelihood)):
                state = candidate
                said += [note] if note else []
        return state, said

    def _climbed(self, state: EMState[Params, Expectations]) -> tuple[EMState[Params, Expectations], Sequence[str]]:
        """Return the state at the end of the second way up, and what to say of it; `state` if not higher."""
        params = cast(Climbs[Params], self._problem).climb(state.params)
        if params is None:
            return state, ()
        try:
            candidate = evaluate(self._problem, params)
        except NumericalError:
            return state, ()
        if candidate.log_likelihood <= state.log_likelihood:
            return state, ()
        problem: object = self._problem
        return candidate, problem.told_of_climb(state.params, params) if isinstance(problem, TellsOfClimbs) else ()

    def _switch(self) -> bool:
        """Whether the E-step of `state` asked for another way to compute: see `Switches`; it is then in use.

        The state before is computed in that way too, so that what is compared was computed alike.
        """
        if not self._can_switch:
            return False
        found = cast(Switches[Expectations], self._problem).switched(self._state.expectations)
        if found is None:
            return False
        self._problem, what = found
        # Where only the old way gives an objective, what is compared next is not computed alike.
        with suppress(NumericalError):
            self._previous = evaluate(self._problem, self._previous.params)
        self._restate(self._previous, what)
        return True

    def _step_anew(self, is_of_old: bool) -> float | None:
        """Take a step that seems to fall once more; return the change of the parameters, None if there is no way to.

        If the step is one of the old way to compute (`is_of_old`), in the new way; else in one that `Doubts` offers.
        """
        problem: Any = self._problem
        found = (problem, "") if is_of_old else problem.doubted() if isinstance(problem, Doubts) else None
        if found is None:
            return None
        other, what = found
        try:
            before = self._previous if is_of_old else evaluate(other, self._previous.params)
            after, change = em_step(other, before)
        except NumericalError:
            return None
        if not is_of_old:
            self._restate(before, what)
        self._problem, self._previous, self._state = other, before, after
        self._trail[-1] = after.params
        return change

    def _restate(self, state: EMState[Params, Expectations], what: str) -> None:
        """Put the objective of `state`, computed in a new way, in the place of the latest, and say so."""
        self._history.restate(state.log_likelihood)
        n_iterations = self._history.n_iterations
        self._notes.append(f"{what} from {f'iteration {n_iterations}' if n_iterations else 'the start'} on")
