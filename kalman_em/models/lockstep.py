"""Many series climb at once, each by itself: one E-step and one M-step for all of them, histories of their own.

A series leaves when it is over, and also when the ordinary loop must take it on (`Handed`): where it needs more than a
plain step, or fails.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from kalman_em.arrays import Array, BoolArray, IntArray
from kalman_em.em.ascent import LEAP_AFTER, TRAIL
from kalman_em.em.history import History
from kalman_em.em.result import EMResult
from kalman_em.em.stopping import STEP_ROUNDING, Stopping, StopReason
from kalman_em.em.stopping_each import are_met, have_fallen
from kalman_em.inference.regression_sums import RegressionMoments
from kalman_em.inference.stacks import PARAMETERS, StackedRows, StackExpectations, SystemStack, expect_stack, joined
from kalman_em.models.leaps_each import are_over, can_leap_together
from kalman_em.models.memory_of_start import named_end
from kalman_em.models.specification import Specification
from kalman_em.models.stacked_judgement import changes_each, degenerate_each
from kalman_em.models.stacked_m_step import StackedMStep
from kalman_em.systems import LinearGaussianSystem

# Series that are over go on being computed until they are this part of all: then the rows are laid anew.
IDLE = 0.2


@dataclass(frozen=True, eq=False)
class Handed:
    """A series for the ordinary loop: where it stands, its history and the latest parameters, the last the current.

    `is_at_end` says that it has converged, but for the leaps that are tried at the end.
    """

    params: LinearGaussianSystem
    log_likelihood: float
    history: History[LinearGaussianSystem]
    trail: tuple[LinearGaussianSystem, ...]
    is_at_end: bool


@dataclass(frozen=True, eq=False)
class StackProblem:
    """One specification, the rows of N series, and the scale (N, p) of each one's data.

    With `watched` a series in which rounding takes too many digits is handed over, and so is one that seems to fall.
    """

    specification: Specification
    over: StackedRows
    scale: Array
    moves_mean: bool
    watched: bool = True


@dataclass(frozen=True, eq=False)
class _Met:
    """Series that met the criteria at one iteration: their positions, their latest systems and their histories."""

    positions: IntArray
    trail: list[SystemStack]
    histories: list[History[LinearGaussianSystem]]


Outcome = EMResult[LinearGaussianSystem] | Handed | None


def climb_together(
    problem: StackProblem,
    start: SystemStack,
    stopping: Stopping,
    *,
    leaps: bool,
    told: Callable[[int], object] = lambda n: None,
) -> list[Outcome]:
    """Return how the climb of every series ended, or where it was handed over; None for one that cannot start.

    `told` is called with the number of series that are over, as they are.
    """
    climb = _Climb(problem, start, stopping, leaps)
    while climb.is_going:
        told(climb.advance())
    climb.end_the_met()
    return climb.outcomes


@dataclass
class _Records:
    """The histories of all series, by position: objectives, changes, and the best parameters with their iteration."""

    log_likelihoods: Array
    changes: Array
    highest: Array
    best_iteration: IntArray

    def grown(self, n_columns: int) -> None:
        if self.log_likelihoods.shape[1] <= n_columns:
            room = np.full((len(self.highest), max(n_columns, 32)), np.nan)
            self.log_likelihoods = np.hstack([self.log_likelihoods, room])
            self.changes = np.hstack([self.changes, room])


class _Climb:
    """The state of the climb; `active` are the positions of the series laid out in `over`, `live` those not over."""

    def __init__(self, problem: StackProblem, start: SystemStack, stopping: Stopping, leaps: bool) -> None:
        n = len(start)
        self.problem, self.stopping, self.leaps = problem, stopping, leaps
        self.step = StackedMStep.of(problem.specification, moves_mean=problem.moves_mean)
        self.over, self.params, self.scale = problem.over, start, problem.scale
        self.active, self.live = np.arange(n), np.ones(n, dtype=bool)
        self.outcomes: list[Outcome] = [None] * n
        self.trail: deque[SystemStack] = deque([start], maxlen=TRAIL)
        self.met: list[_Met] = []
        self.n_iterations = 0
        self.expectations = expect_stack(start, self.over, watched=problem.watched)
        first = self.expectations.log_likelihoods
        self.records = _Records(np.full((n, 1), np.nan), np.zeros((n, 0)), first.copy(), np.zeros(n, dtype=np.int64))
        self.records.log_likelihoods[:, 0] = first
        self.best = start
        # One that cannot be evaluated at its start is for the ordinary loop to explain.
        self.live &= ~self.expectations.troubled

    @property
    def is_going(self) -> bool:
        return bool(self.live.any())

    def advance(self) -> int:
        """Take one iteration and return how many series it was the last of."""
        self._compact()
        before = int(self.live.sum())
        old, old_expectations = self.params, self.expectations
        try:
            with np.errstate(all="ignore"):
                params = self.step(old, old_expectations, self.over)
                change = changes_each(self.problem.specification, old, params, self.scale)
        except np.linalg.LinAlgError:
            # One of them has no decomposition: each goes on by itself, and that one says why.
            for k in np.flatnonzero(self.live).tolist():
                self._leave(k, self._handed(k, is_at_end=False))
            return before
        sound = np.isfinite(change) | np.isposinf(change)
        # What is not finite must not reach the loops: those series stand still until they leave.
        params = params if sound.all() else _chosen(sound, params, old)
        expectations = expect_stack(params, self.over, watched=self.problem.watched)
        troubled = self.live & (~sound | expectations.troubled | ~np.isfinite(expectations.log_likelihoods))
        for k in np.flatnonzero(troubled).tolist():
            self._leave(k, self._handed(k, is_at_end=False))
        self.params, self.expectations = params, expectations
        self.trail.append(params)
        self.n_iterations += 1
        self._record(expectations.log_likelihoods, change)
        self._judge()
        return before - int(self.live.sum())

    def _record(self, log_likelihoods: Array, change: Array) -> None:
        records, n, at = self.records, self.n_iterations, self.active[self.live]
        records.grown(n)
        latest = log_likelihoods[self.live]
        records.log_likelihoods[at, n] = latest
        records.changes[at, n - 1] = change[self.live]
        highest = records.highest[at]
        is_best = latest >= highest - STEP_ROUNDING * (1.0 + np.abs(highest))
        records.best_iteration[at[is_best]] = n
        mask = np.zeros(len(self.live), dtype=bool)
        mask[np.flatnonzero(self.live)[is_best]] = True
        self.best = _chosen(mask, self.params, self.best)
        records.highest[at] = np.maximum(highest, latest)

    def _judge(self) -> None:
        """Let the series leave that are over, for the reasons and in the order of the ordinary loop."""
        records, n, at = self.records, self.n_iterations, self.active
        seen, changes = records.log_likelihoods[at, : n + 1], records.changes[at, :n]
        degenerate = degenerate_each(self.problem.specification, self.params, self.scale)
        fallen = have_fallen(seen, records.highest[at])
        with np.errstate(invalid="ignore"):
            met = are_met(self.stopping, seen, changes)
        is_last = n >= self.stopping.max_iterations
        over = self.live & (degenerate | fallen | met | is_last)
        if self.leaps and not is_last:
            self._leave_met(np.flatnonzero(over & met & ~degenerate & ~fallen))
        for k in np.flatnonzero(over & self.live).tolist():
            if degenerate[k]:
                reason = StopReason.degenerate_covariance
            elif fallen[k] and self.problem.watched:
                # It may be rounding: the ordinary loop takes the step anew, by factors.
                self._leave(k, self._handed(k, is_at_end=False, n_back=1))
                continue
            elif fallen[k]:
                reason = StopReason.objective_fell
            elif met[k]:
                self._leave(k, self._history(k).result(*self._end(k)))
                continue
            else:
                reason = StopReason.max_iterations
            self._leave(k, self._history(k).result(reason))
        if self.leaps and n >= LEAP_AFTER:
            for k in np.flatnonzero(self.live).tolist():
                self._leave(k, self._handed(k, is_at_end=False))

    def _end(self, k: int) -> tuple[StopReason, str]:
        """Return how the climb of series k ends, which has met the criteria."""
        starts = self.over.rows.starts
        named = named_end(self.problem.specification, self.params[k], int(starts[k + 1] - starts[k]))
        return (StopReason.converged, "") if named is None else named

    def _leave_met(self, chosen: IntArray) -> None:
        """Let series leave that have met the criteria: what leaps find there is asked of all together, at the end."""
        if not len(chosen):
            return
        trail = [stack.at(chosen) for stack in self.trail]
        self.met.append(_Met(self.active[chosen], trail, [self._history(k) for k in chosen.tolist()]))
        self.live[chosen] = False

    def end_the_met(self) -> None:
        """Say how the climbs ended that have met the criteria: over, or for the ordinary loop to leap on from."""
        specification = self.problem.specification
        can_leap = can_leap_together(specification)
        whole = [one for one in self.met if can_leap and len(one.trail) == TRAIL]
        settled: set[int] = set()
        if whole:
            positions = np.concatenate([one.positions for one in whole])
            order = np.argsort(positions)
            trail = [joined([one.trail[step] for one in whole]).at(order) for step in range(TRAIL)]
            kept = np.zeros(len(self.outcomes), dtype=bool)
            kept[positions] = True
            settled = set(positions[order][are_over(specification, trail, self.problem.over.at(kept))].tolist())
        for one in self.met:
            for place, (k, history) in enumerate(zip(one.positions.tolist(), one.histories, strict=True)):
                if k in settled:
                    self.outcomes[k] = history.result(StopReason.converged)
                else:
                    trail_of = tuple(stack[place] for stack in one.trail)
                    self.outcomes[k] = Handed(trail_of[-1], history.log_likelihoods[-1], history, trail_of, True)

    def _leave(self, k: int, outcome: Outcome) -> None:
        self.outcomes[self.active[k]] = outcome
        self.live[k] = False

    def _handed(self, k: int, *, is_at_end: bool, n_back: int = 0) -> Handed:
        """Return series k for the ordinary loop as it stands, or as it stood `n_back` iterations ago."""
        trail = tuple(stack[k] for stack in self.trail)[: len(self.trail) - n_back]
        history = self._history(k, n_back)
        return Handed(trail[-1], history.log_likelihoods[-1], history, trail, is_at_end)

    def _history(self, k: int, n_back: int = 0) -> History[LinearGaussianSystem]:
        records, at, n = self.records, self.active[k], self.n_iterations - n_back
        return History.resumed(
            records.log_likelihoods[at, : n + 1].tolist(),
            records.changes[at, :n].tolist(),
            highest=float(records.highest[at]),
            best=(self.best[k], int(records.best_iteration[at])),
        )

    def _compact(self) -> None:
        """Lay the rows anew without the series that are over, once these are enough to be worth it."""
        # The sums of a series that failed are void, and must not reach the M-step of the others.
        is_void = bool(np.any(self.expectations.troubled))
        if not is_void and np.count_nonzero(~self.live) <= IDLE * len(self.live):
            return
        kept = self.live
        self.over, self.scale, self.active = self.over.at(kept), self.scale[kept], self.active[kept]
        self.params, self.best = self.params.at(kept), self.best.at(kept)
        self.trail = deque((stack.at(kept) for stack in self.trail), maxlen=TRAIL)
        self.expectations = _kept(self.expectations, kept)
        self.live = np.ones(len(self.active), dtype=bool)


def _kept(expectations: StackExpectations, kept: BoolArray) -> StackExpectations:
    """Return the expectations of some of the series, numbered anew."""
    number = np.cumsum(kept) - 1
    groups = kept[expectations.group_series]
    transition, observation = expectations.transition, expectations.observation
    return replace(
        expectations,
        transition=_rows(transition, kept),
        observation=_rows(observation, groups),
        group_series=number[expectations.group_series[groups]],
        group_pattern=expectations.group_pattern[groups],
        initial_means=expectations.initial_means[kept],
        initial_covs=expectations.initial_covs[kept],
        log_likelihoods=expectations.log_likelihoods[kept],
        troubled=expectations.troubled[kept],
    )


def _rows(moments: RegressionMoments, kept: BoolArray) -> RegressionMoments:
    parts = (moments.residual, moments.cross, moments.regressor, moments.count)
    return RegressionMoments(*(part[kept] for part in parts))


def _chosen(mask: BoolArray, yes: SystemStack, no: SystemStack) -> SystemStack:
    """Return the systems of `yes` where `mask` says so, of `no` elsewhere."""

    def one(name: str) -> Array:
        left, right = getattr(yes, name), getattr(no, name)
        result: Array = np.where(mask.reshape(-1, *[1] * (left.ndim - 1)), left, right)
        return result

    return yes.replaced(**{name: one(name) for name in PARAMETERS})
