"""Learning a model with hidden values: data read, starts tried, runs that collapsed begun anew."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from kalman_em.em.accelerated import Leaping
from kalman_em.em.bound import ExpectsGain
from kalman_em.em.restarts import RUNAWAY, run_starts
from kalman_em.em.result import EMIteration, EMResult
from kalman_em.em.stochastic import Stochastic
from kalman_em.em.stopping import Stopping
from kalman_em.em.variants import Annealed, Hard, Incremental, Plain, Variant
from kalman_em.errors import InputError, unknown_name
from kalman_em.fitting.latent.kinds import kind_of
from kalman_em.fitting.latent.latent_fit import LatentFit
from kalman_em.frames import check_regular, to_panel, to_points
from kalman_em.latent.model import LatentModel, LatentProblem, ReadsData
from kalman_em.observations import Panel

METHODS: dict[str, Variant] = {
    "em": Plain(),
    "plain": Plain(),
    "accelerated": Leaping(),
    "hard": Hard(),
    "annealed": Annealed(),
    "incremental": Incremental(),
    "stochastic": Stochastic(),
}
# So many more starts are tried where all have lost a component or collapsed.
MORE_STARTS = 10


def learn_latent(
    model: LatentModel,
    data: Any,
    *,
    start: Any,
    stopping: Stopping,
    method: str | Variant,
    n_starts: int,
    trial_iterations: int | None,
    rng: np.random.Generator,
    inputs: Any,
    time: Hashable | None,
    series: Hashable | None,
    values: Any,
    progress: bool,
    callback: Callable[[EMIteration[Any]], object] | None,
) -> LatentFit:
    """Learn `model` from `data`; the arguments are those of `fit`, checked."""
    variant = METHODS.get(method) if isinstance(method, str) else method
    if isinstance(variant, type) or not isinstance(variant, Variant):
        raise InputError(unknown_name("method", method, list(METHODS)))
    panel = read(model, data, inputs=inputs, time=time, series=series, values=values)
    problem = model.problem(panel)
    em = climbed(
        problem,
        variant,
        start=start,
        stopping=stopping,
        n_starts=n_starts,
        trial_iterations=trial_iterations,
        rng=rng,
        progress=progress,
        callback=callback,
    )
    return kind_of(model)(model=model, panel=panel, em=em)


def read(
    model: LatentModel, data: Any, *, inputs: Any = None, time: Any = None, series: Any = None, values: Any = None
) -> Panel:
    """Return the data of a user as the panel that `model` is for.

    Raises
    ------
    InputError
        If the data cannot be read, or an argument makes no sense for the model.
    """
    if inputs is not None:
        raise InputError(f"inputs: expected none, as {type(model).__name__} has no inputs")
    if not model.is_ordered:
        for name, given in (("time", time), ("series", series)):
            if given is not None:
                raise InputError(
                    f"{name}: expected none, as the rows of {type(model).__name__} are in no order; choose the "
                    "observed columns with values="
                )
        if isinstance(model, ReadsData):
            if values is not None:
                raise InputError(f"values: expected none, as {type(model).__name__} takes all columns")
            own: Panel = model.read(data)
            return own
        return to_points(data, values=values)
    panel = to_panel(data, time=time, series=series, values=values)
    for key, one in zip(panel.keys or (), panel, strict=True):
        check_regular(one.index, series=key if panel.n_series > 1 else None)
    return panel


def climbed(
    problem: LatentProblem[Any, Any],
    variant: Variant,
    *,
    start: Any,
    stopping: Stopping,
    n_starts: int,
    trial_iterations: int | None,
    rng: np.random.Generator,
    progress: bool,
    callback: Callable[[EMIteration[Any]], object] | None,
) -> EMResult[Any]:
    """Return the best run of EM from `n_starts` starts, and from up to ten more if all of them ran away.

    A start that the user gave in full or in part is the first; nothing is begun anew if it is the only one.
    """
    first = problem.start()
    if start is not None:
        first = problem.started(first, start)
    starts = [first, *(problem.random_start(rng) for _ in range(n_starts - 1))]
    keeps_bound = isinstance(problem, ExpectsGain)

    def run(some: list[Any]) -> EMResult[Any]:
        found, _ = run_starts(
            problem,
            some,
            stopping=stopping,
            callback=callback,
            progress=progress,
            record_bound=keeps_bound,
            climb=partial(variant.run, rng=rng),
            trial_iterations=trial_iterations,
        )
        return found

    best = run(starts)
    if start is not None and n_starts == 1:
        return best
    reached: list[float] = _reached(best)
    ran_away: list[EMResult[Any]] = []
    while best.stop_reason in RUNAWAY and len(ran_away) < MORE_STARTS:
        ran_away.append(best)
        best = run([problem.random_start(rng)])
        reached += _reached(best)
    if not ran_away:
        return best
    note = f"began anew {len(ran_away)} time{'s' if len(ran_away) > 1 else ''}, at first because {ran_away[0].detail}"
    return replace(best, detail="; ".join(filter(None, [best.detail, note])), start_log_likelihoods=np.array(reached))


def _reached(run: EMResult[Any]) -> list[float]:
    return [] if run.start_log_likelihoods is None else run.start_log_likelihoods.tolist()
