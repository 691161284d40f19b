"""Learning: from a model and data in a user's form to a specification, a panel and an EM run."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from kalman_em.em.loop import run_em
from kalman_em.em.problem import EMProblem
from kalman_em.em.restarts import check_trial_iterations, run_starts
from kalman_em.em.result import EMIteration, EMResult
from kalman_em.em.stochastic import Stochastic
from kalman_em.em.stopping import DEFAULT_STOPPING, Stopping
from kalman_em.em.variants import Hard, Incremental
from kalman_em.errors import InputError, unknown_name
from kalman_em.fitting.reported import check_n_steps, check_reports
from kalman_em.fitting.starting import check_start, started
from kalman_em.frames import check_regular, timed, to_panel
from kalman_em.inference.numerics import AUTO, SQUARE_ROOT, STANDARD, check_numerics
from kalman_em.latent.model import LatentModel
from kalman_em.models.by_series import laid_by_series, shared_by_all, spread_over_series
from kalman_em.models.hard import HardProblem, has_scale
from kalman_em.models.leading import rows_of
from kalman_em.models.model import Model
from kalman_em.models.parts import parted
from kalman_em.models.problem import LeapingProblem, LinearGaussianProblem
from kalman_em.models.rates import endless
from kalman_em.models.regressors import with_made_inputs
from kalman_em.models.row_starts import laid_over_rows
from kalman_em.models.scale import data_scale
from kalman_em.models.specification import Specification
from kalman_em.observations import Panel
from kalman_em.systems import LinearGaussianSystem
from kalman_em.threads import checked_threads

METHODS = ["em", "plain"]
HARD = "hard"
# Variants of EM that take a panel in parts.
IN_PARTS: dict[str, Incremental | Stochastic] = {"incremental": Incremental(), "stochastic": Stochastic()}
# What `fit_each` has not, nor, the last, state spaces at all.
OTHER_VARIANTS = [HARD, *IN_PARTS, "annealed"]
OF_HARD = "log density of data and smoothed states together"
NO_SCALE = (
    "method: hard EM needs states with a scale of their own, as their density grows while they shrink; hold an "
    "entry of every column of observation_matrix fixed"
)


@dataclass(frozen=True, eq=False)
class Learnt:
    """What `learn` returns: the parts of a `Fit`."""

    specification: Specification
    panel: Panel
    em: EMResult[LinearGaussianSystem]
    numerics: str = STANDARD

    @classmethod
    def by(cls, specification: Specification, panel: Panel, em: EMResult[LinearGaussianSystem], asked: str) -> Learnt:
        """Return the parts with the arithmetic that was `asked` for, or gone over to."""
        needed = asked == SQUARE_ROOT or em.switched_at is not None
        return cls(specification, panel, em, SQUARE_ROOT if needed else STANDARD)


def learn(
    model: Model,
    data: Any,
    *,
    start: Any = None,
    stopping: Stopping = DEFAULT_STOPPING,
    method: object = "em",
    numerics: str = AUTO,
    n_starts: int = 1,
    trial_iterations: int | None = None,
    seed: int | np.random.Generator | None = None,
    inputs: Any = None,
    time: Hashable | None = None,
    series: Hashable | None = None,
    values: Any = None,
    n_threads: int | None = 1,
    progress: bool = False,
    callback: Callable[[EMIteration[LinearGaussianSystem]], object] | None = None,
    record_bound: bool = False,
) -> Learnt:
    """Learn the parameters of `model` from `data`; the arguments are those of `fit`."""
    is_hard = isinstance(method, Hard) or (isinstance(method, str) and method == HARD)
    variant = method if isinstance(method, Incremental | Stochastic) else IN_PARTS.get(str(method))
    check_arguments(model, stopping, "plain" if is_hard or variant else method, n_starts, trial_iterations)
    check_numerics(numerics)
    rng, threads = generator(seed), checked_threads(n_threads)
    specification, panel = stated(model, data, inputs=inputs, time=time, series=series, values=values)
    check_start(specification, start)
    if is_hard and not has_scale(specification):
        raise InputError(NO_SCALE)
    problem: EMProblem[LinearGaussianSystem, Any]
    if variant is not None:
        problem = parted(specification, panel, data_scale(panel), numerics, threads)
    else:
        kind = HardProblem if is_hard else LeapingProblem if method == "em" else LinearGaussianProblem
        problem = kind(specification, rows_of(panel, specification), data_scale(panel), numerics, threads)
    plain = shared_by_all(specification)
    first = started(specification, spread_over_series(specification, model.start(plain, panel)), start)
    if n_starts == 1 and variant is None:
        em = run_em(problem, first, stopping=stopping, callback=callback, progress=progress, record_bound=record_bound)
    else:
        others = [spread_over_series(specification, model.random_start(plain, panel, rng)) for _ in range(n_starts - 1)]
        em, _ = run_starts(
            problem,
            [first, *others],
            stopping=stopping,
            callback=callback,
            progress=progress,
            record_bound=record_bound,
            trial_iterations=trial_iterations,
            climb=run_em if variant is None else partial(variant.run, rng=rng),
        )
    em = _noted(em, specification, panel)
    if is_hard:
        em = replace(em, objective=OF_HARD)
    return Learnt.by(specification, panel, em, numerics)


def _noted(
    em: EMResult[LinearGaussianSystem], specification: Specification, panel: Panel
) -> EMResult[LinearGaussianSystem]:
    """Return the run with a note where a rate that it learnt is as good as 0."""
    spans = [float(np.ptp(one.times)) for one in panel if one.times is not None]
    note = endless(specification, em.params, max(spans, default=0.0)) if specification.rates else ""
    return replace(em, detail="; ".join(filter(None, (em.detail, note)))) if note else em


def stated(
    model: Model,
    data: Any,
    *,
    inputs: Any = None,
    time: Hashable | None = None,
    series: Hashable | None = None,
    values: Any = None,
    specification: Specification | None = None,
) -> tuple[Specification, Panel]:
    """Return the model laid out for `data`, and the data as a panel; `InputError` if they cannot be learnt from.

    `specification` is what the model lays out, where that is known.
    """
    panel = to_panel(
        data, inputs=inputs, time=time, series=series, values=values, obs_dim=getattr(model, "obs_dim", None)
    )
    panel = with_made_inputs(model, panel)
    unit = getattr(model, "time_unit", None)
    if unit is not None:
        panel = timed(panel, unit)
    for key, one in zip(panel.keys or (), panel, strict=True):
        if unit is None:
            check_regular(one.index, series=key if panel.n_series > 1 else None)
    specification = laid_by_series(model.specify(panel) if specification is None else specification, panel)
    specification = laid_over_rows(specification, panel)
    _check_enough(specification, panel)
    check_n_steps(specification, panel)
    check_reports(specification, panel)
    return specification, panel


def check_arguments(model: Any, stopping: Any, method: Any, n_starts: Any, trial_iterations: Any = None) -> None:
    """Raise `InputError` for an argument of `fit` that is of the wrong kind."""
    if isinstance(model, type) or not isinstance(model, Model):
        shown = f"the class {model.__name__}; call it" if isinstance(model, type) else type(model).__name__
        if isinstance(model, LatentModel):
            shown += ", which is no state space; fit each series by itself with fit"
        raise InputError(f"model: expected a model such as LocalLevel(), got {shown}")
    if method not in METHODS:
        if isinstance(method, str) and method not in OTHER_VARIANTS:
            raise InputError(unknown_name("method", method, METHODS))
        raise InputError(
            f"method: expected 'em' or 'plain' (or, of one fit, 'hard', 'incremental' or 'stochastic'), got "
            f"{method!r}; other variants of EM are for models that are no state space"
        )
    check_run(stopping, n_starts, trial_iterations)


def check_run(stopping: Any, n_starts: Any, trial_iterations: Any = None) -> None:
    """Raise `InputError` for an argument of any fit that is of the wrong kind."""
    if not isinstance(stopping, Stopping):
        raise InputError(f"stopping: expected Stopping(...), got {type(stopping).__name__}")
    if not isinstance(n_starts, int | np.integer) or isinstance(n_starts, bool) or n_starts < 1:
        raise InputError(f"n_starts: expected a whole number of at least 1, got {n_starts!r}")
    check_trial_iterations(trial_iterations)


def generator(seed: Any) -> np.random.Generator:
    """Return the generator that `seed` stands for."""
    try:
        return np.random.default_rng(seed)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"seed: expected a whole number of at least 0 or a numpy.random.Generator, got {seed!r}"
        ) from error


def _check_enough(specification: Specification, panel: Panel) -> None:
    """Refuse data that cannot say anything of the parameters."""
    if max(one.n_steps for one in panel) < 2:
        raise InputError("data: expected at least two rows in a series, got one: no step in time is observed")
    n_diffuse = int(np.count_nonzero(specification.initial.diffuse))
    for key, one in zip(panel.keys or (), panel, strict=True):
        # Of a panel, a series that the diffuse start takes up whole adds nothing, and does no harm.
        needed = n_diffuse + (panel.n_series == 1)
        if one.n_observed < needed:
            where = "" if panel.n_series == 1 else f" of series {key!r}"
            advice = "" if panel.n_series == 1 else "; leave such a series out"
            raise InputError(
                f"data: expected at least {needed} observed values{where}, as the diffuse start takes {n_diffuse}, "
                f"got {one.n_observed}{advice}"
            )
