"""Independent fits of many series: those that can climb together do, the others one by one."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from kalman_em.em.loop import climb_on, run_em
from kalman_em.em.result import EMResult
from kalman_em.em.stopping import Stopping
from kalman_em.errors import InputError, NumericalError
from kalman_em.fitting.learning import Learnt, learn, stated
from kalman_em.fitting.starting import check_start, started
from kalman_em.inference.numerics import AUTO, SQUARE_ROOT
from kalman_em.inference.rows import stack_rows
from kalman_em.inference.stacks import StackedRows, parts_at_hand, stacked
from kalman_em.models.leading import rows_of, with_leading_rows
from kalman_em.models.lockstep import Handed, StackProblem, climb_together
from kalman_em.models.model import Model, StartsEach
from kalman_em.models.problem import LeapingProblem, LinearGaussianProblem
from kalman_em.models.scale import data_scale
from kalman_em.models.specification import Specification
from kalman_em.models.stacked_forms import can_be_stacked
from kalman_em.observations import Observations, Panel
from kalman_em.systems import LinearGaussianSystem

# Series that climb together: enough for the cost of a step in Python to be shared, few enough to share among threads.
TOGETHER = 512
# Steps of a series with fewer rows are spent in the interpreter, which threads would only take from each other.
SHORT = 5000

# What a series came to: its fit, or the reason why there is none.
Learning = Learnt | str
ERRORS = (InputError, NumericalError, np.linalg.LinAlgError)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The arguments of `fit` that hold for every series."""

    model: Model
    start: Any
    stopping: Stopping
    method: str
    n_starts: int
    seed: int | None
    numerics: str = AUTO


@dataclass(frozen=True, eq=False)
class Laid:
    """A series with its model laid out for it; those with the same specification hold one and the same value."""

    position: int
    specification: Specification
    panel: Panel

    @property
    def size(self) -> int:
        """The numbers of the covariances at its rows."""
        return self.panel.series[0].n_steps * self.specification.state_dim**2


@dataclass(frozen=True, eq=False)
class Begun(Laid):
    """A series with its model laid out, and where its climb starts."""

    start: LinearGaussianSystem


def chunks_of(n_series: int) -> list[range]:
    """Return the positions of `n_series` in chunks of nearly equal size, the same for any number of threads.

    Examples
    --------
    >>> chunks_of(1000)
    [range(0, 500), range(500, 1000)]
    """
    n_chunks = max(-(-n_series // TOGETHER), 1)
    bounds = [n_series * k // n_chunks for k in range(n_chunks + 1)]
    return [range(first, last) for first, last in pairwise(bounds)]


def learn_together(
    settings: Settings,
    keys: Sequence[Hashable],
    series: Sequence[Observations],
    told: Callable[[int], object],
    interpreter: AbstractContextManager[Any] | None = None,
) -> list[Learning]:
    """Return what every series came to; `told` is called with numbers of series that are over.

    The fits are those of `learn` on each series alone. What needs a short series for itself, mostly in Python, is done
    while `interpreter` is held, a lock that all threads have in common: side by side they would take twice the time.
    """
    turn = interpreter if interpreter is not None and max(one.n_steps for one in series) < SHORT else nullcontext()
    results: list[Learning | None] = [None] * len(series)
    laid: list[Laid] = []
    specifications: dict[Sequence[str], Specification] = {}
    for position, (key, one) in enumerate(zip(keys, series, strict=True)):
        panel = Panel((one,), keys=(key,))
        if settings.n_starts == 1:
            try:
                laid.append(_laid(settings.model, specifications, position, panel))
                continue
            except ERRORS as error:
                results[position] = _reason(error)
        else:
            with turn:
                results[position] = _alone(settings, panel)
        told(1)
    begun: list[Begun] = []
    for part in _parts(laid):
        for each, first in zip(part, _started(settings, part, turn), strict=True):
            if isinstance(first, str):
                results[each.position] = first
                told(1)
            else:
                begun.append(Begun(each.position, each.specification, each.panel, first))
    # Factors are not stacked: each series climbs by itself.
    for group in [[one] for one in begun] if settings.numerics == SQUARE_ROOT else _alike(begun):
        for each, learnt in zip(group, _group(settings, group, told, turn), strict=True):
            results[each.position] = learnt
    return [result for result in results if result is not None]


def _laid(model: Model, specifications: dict[Sequence[str], Specification], position: int, panel: Panel) -> Laid:
    """Return a series with its model; what serves every series of these columns is kept in `specifications`."""
    (one,) = panel.series
    names = panel.names
    known = specifications.get(names) if one.n_steps >= one.obs_dim and one.inputs is None else None
    specification, panel = stated(model, panel, specification=known)
    if known is None and isinstance(model, StartsEach) and model.lays_alike(panel):
        specifications[names] = specification
    return Laid(position, specification, panel)


def _parts(laid: Sequence[Laid]) -> Iterator[list[Laid]]:
    """Yield the series in parts of one specification each, no more than lie at hand."""
    groups: dict[int, list[Laid]] = {}
    for one in laid:
        groups.setdefault(id(one.specification), []).append(one)
    for group in groups.values():
        yield from (group[part] for part in parts_at_hand([one.size for one in group]))


def _started(
    settings: Settings, part: Sequence[Laid], turn: AbstractContextManager[Any]
) -> list[LinearGaussianSystem | str]:
    """Return where the climb of every series starts, or why it cannot."""
    model, specification = settings.model, part[0].specification
    together = None
    if len(part) > 1 and isinstance(model, StartsEach):
        together = model.starts(specification, Panel(tuple(one.panel.series[0] for one in part)))
    found: list[LinearGaussianSystem | str] = []
    with turn if together is None else nullcontext():
        for k, one in enumerate(part):
            try:
                check_start(specification, settings.start)
                base = model.start(specification, one.panel) if together is None else together[k]
                found.append(started(specification, base, settings.start))
            except ERRORS as error:
                found.append(_reason(error))
    return found


def _alike(begun: Sequence[Begun]) -> Iterator[list[Begun]]:
    """Yield the series in groups that can climb together, no more than lie at hand; others are groups of one."""
    groups: list[list[Begun]] = []
    for one in begun:
        group = next((group for group in groups if _are_alike(group[0], one)), None)
        is_known = group is not None and group[0].specification is one.specification and not _moves_means(one)
        if not is_known and not can_be_stacked(one.specification, one.start):
            yield [one]
        elif group is None:
            groups.append([one])
        else:
            group.append(one)
    for group in groups:
        yield from (group[part] for part in parts_at_hand([one.size for one in group]))


def _moves_means(one: Begun) -> bool:
    """Whether a start may say that this series cannot climb with others of its specification."""
    return any(one.specification.is_free(f"{kind}_offset") for kind in ("transition", "observation"))


def _are_alike(left: Begun, right: Begun) -> bool:
    a, b = left.specification, right.specification
    return (
        (a.state_dim, a.obs_dim, a.initial_step) == (b.state_dim, b.obs_dim, b.initial_step)
        and (a is b or dict(a.forms) == dict(b.forms))
        and _same(left.start.initial_diffuse, right.start.initial_diffuse)
        and _same(a.noise_selection, b.noise_selection)
    )


def _same(left: Any, right: Any) -> bool:
    return left is right or (left is not None and right is not None and np.array_equal(left, right))


def _group(
    settings: Settings, group: Sequence[Begun], told: Callable[[int], object], turn: AbstractContextManager[Any]
) -> list[Learning]:
    """Return what the series of one group came to; what one of them does by itself is done while `turn` is held."""
    if len(group) == 1:
        with turn:
            result = _climbed_alone(settings, group[0])
        told(1)
        return [result]
    first = group[0]
    own = _problem(settings, first)
    led = [with_leading_rows(one.panel, one.specification).series[0] for one in group]
    problem = StackProblem(
        first.specification,
        StackedRows.of(stack_rows(led, own.rows.n_leading)),
        np.stack([data_scale(one.panel) for one in group]),
        moves_mean=own.sets_initial_mean,
        watched=settings.numerics == AUTO,
    )
    outcomes = climb_together(
        problem, stacked([one.start for one in group]), settings.stopping, leaps=settings.method == "em", told=told
    )
    found: list[Learning] = []
    for one, outcome in zip(group, outcomes, strict=True):
        # The layout of the first stands for all: one specification in memory, not one a series.
        if outcome is None:
            told(1)
            with turn:
                found.append(_climbed_alone(settings, one))
        elif isinstance(outcome, Handed):
            with turn:
                found.append(
                    Learnt.by(first.specification, one.panel, _climbed_on(settings, one, outcome), settings.numerics)
                )
        else:
            found.append(Learnt.by(first.specification, one.panel, outcome, settings.numerics))
    return found


def _climbed_on(settings: Settings, one: Begun, handed: Handed) -> EMResult[LinearGaussianSystem]:
    return climb_on(
        _problem(settings, one),
        handed.history,
        handed.trail,
        stopping=settings.stopping,
        is_at_end=handed.is_at_end,
    )


def _problem(settings: Settings, one: Begun) -> LinearGaussianProblem:
    kind = LeapingProblem if settings.method == "em" else LinearGaussianProblem
    return kind(one.specification, rows_of(one.panel, one.specification), data_scale(one.panel), settings.numerics)


def _climbed_alone(settings: Settings, one: Begun) -> Learning:
    try:
        em = run_em(_problem(settings, one), one.start, stopping=settings.stopping)
    except ERRORS as error:
        return _reason(error)
    return Learnt.by(one.specification, one.panel, em, settings.numerics)


def _alone(settings: Settings, panel: Panel) -> Learning:
    try:
        return learn(
            settings.model,
            panel,
            start=settings.start,
            stopping=settings.stopping,
            method=settings.method,
            numerics=settings.numerics,
            n_starts=settings.n_starts,
            seed=settings.seed,
        )
    except ERRORS as error:
        return _reason(error)


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
